// The middle tier: packed images in host memory, within the library's byte budget. Reads adapters, a few at a time; when
// the budget is spent it drops images that no request holds, by cost and use, and reads them again when they are named.
//
// Which image goes: the one of the lowest rank, rank = floor + uses * cost / bytes (GreedyDual-Size-Frequency, as in
// native/adapter/src/eviction_policy.cpp), the cost of a reload being a file's opening and its bytes.
using SLoRA.Engine.Native;
using SLoRA.Engine.Text;

namespace SLoRA.Engine.Catalog;

#pragma warning disable CA1001 // a SemaphoreSlim holds nothing unless its wait handle is asked for
internal sealed class HostStore(INativeEngine native, IAdapterFolderReader folders, TimeProvider time)
{
#pragma warning restore CA1001
    // How long a load waits for images that running requests hold.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    // Opening files and checking names, in bytes of reading: about a millisecond of a disk of 1 GB/s.
    private const double OpenBytes = 1e6;

    private readonly Lock _gate = new();
    private readonly SortedSet<IdleImage> _idle = [];
    private readonly SemaphoreSlim _readers = new(Math.Max(2, Environment.ProcessorCount));
    private TaskCompletionSource _freed = NewSignal();
    private double _floor;
    private long _order;
    private int _held;
    private int _waiting;
    private int _reading;

    /// Told how long each successful read took.
    public Action<TimeSpan>? AdapterRead { get; set; }

    /// Images dropped to make room, since the start.
    public long Drops { get; private set; }

    /// <exception cref="AdapterIncompatibleException">The files are missing, wrong or for another model.</exception>
    /// <exception cref="OutOfDeviceMemoryException">No room, and none came in time.</exception>
    public async Task<AdapterRevision> LoadAsync(AdapterSource source, IProgress<LoadProgress>? progress, CancellationToken ct)
    {
        var started = time.GetTimestamp();
        await _readers.WaitAsync(ct).ConfigureAwait(false);
        Interlocked.Increment(ref _reading);
        try
        {
            var revision = await Task.Run(() => ReadAsync(source, progress, started, ct), ct).ConfigureAwait(false);
            AdapterRead?.Invoke(time.GetElapsedTime(started));
            return revision;
        }
        finally
        {
            Interlocked.Decrement(ref _reading);
            _readers.Release();
        }
    }

    /// A revision gets its first holder, or had it when it was made.
    public void Hold(AdapterRevision revision)
    {
        lock (_gate)
        {
            _held++;
            revision.Uses++;
            _idle.Remove(revision.IdleImage);
        }
    }

    /// Its last holder has gone: its image may be dropped.
    public void LetGo(AdapterRevision revision)
    {
        lock (_gate)
        {
            _held--;
            File(revision);
        }

        Signal();
    }

    /// It was made, or pinned or unpinned, and nobody holds it.
    public void Enter(AdapterRevision revision)
    {
        lock (_gate)
        {
            File(revision);
        }

        Signal();
    }

    /// It is retired.
    public void Leave(AdapterRevision revision)
    {
        lock (_gate)
        {
            _idle.Remove(revision.IdleImage);
        }

        Signal();
    }

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Whoever waits for room tries again.
    private void Signal()
    {
        TaskCompletionSource freed;
        lock (_gate)
        {
            if (_waiting == 0)
            {
                return;
            }

            freed = _freed;
            _freed = NewSignal();
        }

        freed.TrySetResult();
    }

    private void File(AdapterRevision revision)
    {
        _idle.Remove(revision.IdleImage);
        if (!revision.CanReload)
        {
            return;
        }

        var rank = _floor + (Math.Max(revision.Uses, 1) * (OpenBytes + revision.Bytes) / Math.Max(revision.Bytes, 1));
        revision.IdleImage = new IdleImage(rank, ++_order, revision);
        _idle.Add(revision.IdleImage);
    }

    private async Task<AdapterRevision> ReadAsync(AdapterSource source, IProgress<LoadProgress>? progress, long started, CancellationToken ct)
    {
        if (!Directory.Exists(source.Path))
        {
            throw new AdapterIncompatibleException($"'{source.Path}' is not a folder");
        }

        var chatTemplate = folders.Read(source.Path);
        while (true)
        {
            // Taken before the try: room that is freed while it fails is not missed.
            Task freed;
            lock (_gate)
            {
                freed = _freed.Task;
                _waiting++;
            }

            try
            {
                var loaded = native.LoadAdapter(new AdapterImage.Files(source.Path), source.Pinned, progress, ct);
                return new AdapterRevision(source, loaded, chatTemplate, time.GetUtcNow()) { Store = this };
            }
            catch (OutOfDeviceMemoryException error)
            {
                if (TryDropOne())
                {
                    continue;
                }

                await WaitForRoomAsync(freed, started, error, ct).ConfigureAwait(false);
            }
            catch (SLoRAException error) when (error is not AdapterIncompatibleException && !error.IsFatal)
            {
                throw new AdapterIncompatibleException(error.Status, error.Message, error);
            }
            finally
            {
                lock (_gate)
                {
                    _waiting--;
                }
            }
        }
    }

    // Where nobody holds an image and nobody else is reading, no room will come.
    private async Task WaitForRoomAsync(Task freed, long started, OutOfDeviceMemoryException error, CancellationToken ct)
    {
        bool mayCome;
        lock (_gate)
        {
            mayCome = _held > 0 || Volatile.Read(ref _reading) > 1;
        }

        var left = Patience - time.GetElapsedTime(started);
        if (!mayCome || left <= TimeSpan.Zero)
        {
            throw error;
        }

        try
        {
            await freed.WaitAsync(left, time, ct).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            throw error;
        }
    }

    private bool TryDropOne()
    {
        while (true)
        {
            AdapterRevision revision;
            lock (_gate)
            {
                if (_idle.Min is not { } coldest)
                {
                    return false;
                }

                _idle.Remove(coldest);
                _floor = Math.Max(_floor, coldest.Rank);
                revision = coldest.Revision;
            }

            // Outside the lock: a revision calls back into the store under its own.
            if (revision.TryRetireIdle())
            {
                Drops++;
                return true;
            }
        }
    }
}

/// A place in the order of dropping.
internal sealed record IdleImage(double Rank, long Order, AdapterRevision Revision) : IComparable<IdleImage>
{
    public int CompareTo(IdleImage? other) => other is null ? 1 : (Rank, Order).CompareTo((other.Rank, other.Order));
}
