// One loaded revision of an adapter and who uses it. The catalogue drops a revision by retiring it; the native handle
// goes with the last lease, so a request that waits in the queue still finds the revision it began with.
using SLoRA.Engine.Native;
using SLoRA.Engine.Text;

namespace SLoRA.Engine.Catalog;

internal sealed class AdapterRevision(AdapterSource source, INativeAdapter native, RenderChat? chatTemplate, DateTimeOffset loadedAt)
{
    private readonly Lock _gate = new();
    private readonly TaskCompletionSource _idle = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _isPinned = source.Pinned;
    private int _leases;
    private bool _isRetired;

    public AdapterSource Source => source;

    public string Name => source.Name;

    public AdapterId Id { get; } = native.Id;

    public int Pages { get; } = native.Pages;

    public long Bytes { get; } = native.Bytes;

    public RenderChat? ChatTemplate { get; } = chatTemplate;

    /// Completes when the revision is retired and its handle given back.
    public Task Idle => _idle.Task;

    /// The name it is loaded for.
    public RegisteredAdapter? Owner { get; set; }

    /// Keeps its image while nobody holds it, and may drop it; null: nobody does.
    public HostStore? Store { get; init; }

    // ---- the store's, under its lock

    /// Pinned adapters stay, and what came from no file cannot come back.
    public bool CanReload => Store is not null && !Volatile.Read(ref _isPinned);

    public long Uses { get; set; }

    public IdleImage IdleImage { get => field ??= new IdleImage(0, 0, this); set; }

    public bool TryAcquire()
    {
        lock (_gate)
        {
            if (_isRetired)
            {
                return false;
            }

            if (_leases++ == 0)
            {
                Store?.Hold(this);
            }

            return true;
        }
    }

    public void Release()
    {
        lock (_gate)
        {
            if (--_leases == 0)
            {
                Store?.LetGo(this);
            }

            EndIfUnused();
        }
    }

    public void Retire()
    {
        lock (_gate)
        {
            _isRetired = true;
            EndIfUnused();
        }
    }

    /// Retires it if nobody holds it.
    public bool TryRetireIdle()
    {
        lock (_gate)
        {
            if (_leases > 0 || _isRetired || _isPinned)
            {
                return false;
            }

            _isRetired = true;
            EndIfUnused();
        }

        Owner?.Drop(this);
        return true;
    }

    public void SetPinned(bool pinned)
    {
        lock (_gate)
        {
            if (_isRetired)
            {
                return;
            }

            native.SetPinned(pinned);
            _isPinned = pinned;
            if (_leases == 0)
            {
                Store?.Enter(this);
            }
        }
    }

    public AdapterInfo Describe()
    {
        lock (_gate)
        {
            return new AdapterInfo
            {
                Name = Name,
                Path = source.Path,
                Id = Id,
                LoraRank = native.LoraRank,
                TargetModules = native.Modules,
                Bytes = Bytes,
                Pages = Pages,
                Residency = _idle.Task.IsCompleted ? AdapterResidency.Host : native.Residency,
                Pinned = _isPinned,
                HasChatTemplate = ChatTemplate is not null,
                ActiveRequests = _leases,
                LoadedAt = loadedAt,
            };
        }
    }

    private void EndIfUnused()
    {
        if (_isRetired && _leases == 0 && !_idle.Task.IsCompleted)
        {
            native.Dispose();
            Store?.Leave(this);
            _idle.SetResult();
        }
    }
}
