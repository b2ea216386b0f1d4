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

    public RenderChat? ChatTemplate { get; } = chatTemplate;

    /// Completes when the revision is retired and its handle given back.
    public Task Idle => _idle.Task;

    public bool TryAcquire()
    {
        lock (_gate)
        {
            _leases += _isRetired ? 0 : 1;
            return !_isRetired;
        }
    }

    public void Release()
    {
        lock (_gate)
        {
            _leases--;
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

    public void SetPinned(bool pinned)
    {
        lock (_gate)
        {
            if (!_isRetired)
            {
                native.SetPinned(pinned);
                _isPinned = pinned;
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
                Bytes = native.Bytes,
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
            _idle.SetResult();
        }
    }
}
