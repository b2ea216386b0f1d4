// One name of the catalogue: where its files are, and, if it is loaded, the revision that requests get. Loads once however
// many requests wait for it; whoever stops waiting does not stop the load.
using SLoRA.Engine.Native;

namespace SLoRA.Engine.Catalog;

internal sealed class RegisteredAdapter(AdapterSource source, int configRank, FolderStamp stamp, DateTimeOffset registeredAt)
{
    private readonly Lock _gate = new();
    private AdapterRevision? _revision;
    private Task<AdapterRevision>? _load;

    // A load holds its revision until everybody who waited for it has it: others who need room must not take it first.
    private AdapterRevision? _handover;
    private int _waiters;
    private bool _isPinned = source.Pinned;
    private bool _isRemoved;

    public string Name => source.Name;

    public AdapterSource Source => source;

    public FolderStamp Stamp => stamp;

    public bool IsLoaded
    {
        get
        {
            lock (_gate)
            {
                return _revision is not null;
            }
        }
    }

    /// An adapter that was loaded before it got its name.
    public static RegisteredAdapter Of(AdapterRevision revision, FolderStamp stamp, DateTimeOffset registeredAt)
    {
        var registered = new RegisteredAdapter(revision.Source, 0, stamp, registeredAt);
        registered.Take(revision);
        revision.Store?.Enter(revision);
        return registered;
    }

    /// The revision, held until its Release, or null if it is not loaded.
    public AdapterRevision? TryAcquire()
    {
        lock (_gate)
        {
            return _revision is { } revision && revision.TryAcquire() ? revision : null;
        }
    }

    /// The revision, held until its Release; null if the name went meanwhile. Throws what the load throws.
    public async Task<AdapterRevision?> AcquireAsync(Func<AdapterSource, Task<AdapterRevision>> load, CancellationToken ct)
    {
        while (true)
        {
            Task<AdapterRevision> loading;
            lock (_gate)
            {
                if (_isRemoved)
                {
                    return null;
                }

                if (_revision is { } revision && revision.TryAcquire())
                {
                    return revision;
                }

                loading = _load ??= LoadAsync(load);
                _waiters++;
            }

            try
            {
                var revision = await loading.WaitAsync(ct).ConfigureAwait(false);
                if (revision.TryAcquire())
                {
                    return revision;
                }
            }
            finally
            {
                EndWait();
            }
        }
    }

    public void SetPinned(bool pinned)
    {
        lock (_gate)
        {
            _isPinned = pinned;
            _revision?.SetPinned(pinned);
        }
    }

    /// The host image was wanted for others and nobody holds it: it is on disk only again.
    public void Drop(AdapterRevision revision)
    {
        lock (_gate)
        {
            _revision = ReferenceEquals(_revision, revision) ? null : _revision;
        }
    }

    /// The name is gone or another's. Completes when nobody holds the revision it had.
    public Task Remove()
    {
        AdapterRevision? revision;
        lock (_gate)
        {
            _isRemoved = true;
            revision = _revision;
            _revision = null;
        }

        revision?.Retire();
        return revision?.Idle ?? Task.CompletedTask;
    }

    public AdapterInfo Describe()
    {
        lock (_gate)
        {
            return _revision?.Describe() ?? new AdapterInfo
            {
                Name = Name,
                Path = source.Path,
                LoraRank = configRank,
                Residency = AdapterResidency.Disk,
                Pinned = _isPinned,
                LoadedAt = registeredAt,
            };
        }
    }

    private async Task<AdapterRevision> LoadAsync(Func<AdapterSource, Task<AdapterRevision>> load)
    {
        // Off the lock of whoever asked.
        await Task.Yield();
        try
        {
            var revision = await load(source).ConfigureAwait(false);
            bool isTaken;
            lock (_gate)
            {
                isTaken = !_isRemoved;
                if (isTaken)
                {
                    revision.TryAcquire();
                    _handover = revision;
                    Take(revision);
                }
            }

            if (!isTaken)
            {
                revision.Retire();
            }

            return revision;
        }
        finally
        {
            AdapterRevision? unwanted = null;
            lock (_gate)
            {
                _load = null;
                if (_waiters == 0)
                {
                    (unwanted, _handover) = (_handover, null);
                }
            }

            unwanted?.Release();
        }
    }

    private void EndWait()
    {
        AdapterRevision? handed = null;
        lock (_gate)
        {
            if (--_waiters == 0 && _load is null)
            {
                (handed, _handover) = (_handover, null);
            }
        }

        handed?.Release();
    }

    private void Take(AdapterRevision revision)
    {
        _revision = revision;
        revision.Owner = this;
        if (_isPinned != source.Pinned)
        {
            revision.SetPinned(_isPinned);
        }
    }
}
