// Names to adapter revisions. Readers see an immutable map; writers replace it under a lock, and loads themselves run
// outside the lock, so that a slow disk holds up nobody.
using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using SLoRA.Engine.Native;
using SLoRA.Engine.Text;

namespace SLoRA.Engine.Catalog;

internal sealed class AdapterCatalog(INativeEngine native, IAdapterFolderReader folders, string modelName, TimeProvider time, ILogger logger) : IAdapterCatalog
{
    private static readonly ImmutableSortedDictionary<string, AdapterRevision> Empty = ImmutableSortedDictionary.Create<string, AdapterRevision>(StringComparer.Ordinal);

    private readonly Lock _gate = new();
    private volatile State _state = new(Empty, new CancellationTokenSource());
    private bool _isClosed;

    /// Told how long each successful read took.
    public Action<TimeSpan>? AdapterRead { get; set; }

    public IReadOnlyList<AdapterInfo> Adapters => Snapshot().Adapters;

    public AdapterCatalogSnapshot Snapshot()
    {
        var state = _state;
        return new AdapterCatalogSnapshot([.. state.Revisions.Values.Select(revision => revision.Describe())], state.Changed.Token);
    }

    public AdapterInfo? Find(string name) => _state.Revisions.TryGetValue(name, out var revision) ? revision.Describe() : null;

    /// The current revision of an adapter, held until Release.
    public AdapterRevision Acquire(string name)
    {
        // A revision that is retired between the look and the lease has been replaced or removed: look again.
        while (_state.Revisions.TryGetValue(name, out var revision))
        {
            if (revision.TryAcquire())
            {
                return revision;
            }
        }

        throw new AdapterNotFoundException(name);
    }

    public async Task<AdapterInfo> LoadAsync(AdapterSource source, IProgress<LoadProgress>? progress = null, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        source.Validate();
        RefuseTaken(source);
        var started = time.GetTimestamp();
        var revision = await Task.Run(() => Read(source, progress, ct), ct).ConfigureAwait(false);
        Publish(source, revision);
        AdapterRead?.Invoke(time.GetElapsedTime(started));
        EngineLog.AdapterLoaded(logger, source.Name, revision.Describe().LoraRank, revision.Describe().Bytes, revision.Pages);
        return revision.Describe();
    }

    public async Task<IReadOnlyList<AdapterFailure>> LoadDirectoryAsync(
        string directory, bool strict = false, IProgress<LoadProgress>? progress = null, CancellationToken ct = default)
    {
        var found = AdapterFolders(directory);
        var failures = new List<AdapterFailure>();
        for (var i = 0; i < found.Length; i++)
        {
            var name = Path.GetFileName(found[i]);
            progress?.Report(new LoadProgress(name, i, found.Length));
            try
            {
                await LoadAsync(new AdapterSource(name, found[i]), null, ct).ConfigureAwait(false);
            }
            catch (SLoRAException error) when (!strict && !error.IsFatal)
            {
                EngineLog.AdapterFailed(logger, name, error.Message);
                failures.Add(new AdapterFailure(name, found[i], error.Message));
            }
        }

        progress?.Report(new LoadProgress(string.Empty, found.Length, found.Length));
        return failures;
    }

    public async Task LoadSyntheticAsync(SyntheticAdapters adapters, IProgress<LoadProgress>? progress = null, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(adapters);
        adapters.Validate();
        var made = new AdapterRevision?[adapters.Count];
        try
        {
            await new SyntheticLoader(native, adapters, progress, time).LoadAsync(made, ct).ConfigureAwait(false);
            lock (_gate)
            {
                ObjectDisposedException.ThrowIf(_isClosed, this);
                Replace(_state.Revisions.SetItems(made.Select(revision => WithFreeName(revision!))));
            }
        }
        catch
        {
            foreach (var revision in made)
            {
                revision?.Retire();
            }

            throw;
        }
    }

    public async Task<bool> UnloadAsync(string name, UnloadMode mode = UnloadMode.WhenIdle, CancellationToken ct = default)
    {
        AdapterRevision? revision;
        lock (_gate)
        {
            if (!_state.Revisions.TryGetValue(name, out revision))
            {
                return false;
            }

            Replace(_state.Revisions.Remove(name));
        }

        revision.Retire();
        EngineLog.AdapterUnloaded(logger, name);
        if (mode == UnloadMode.WhenIdle)
        {
            await revision.Idle.WaitAsync(ct).ConfigureAwait(false);
        }

        return true;
    }

    public void SetPinned(string name, bool pinned)
    {
        var revision = Acquire(name);
        try
        {
            revision.SetPinned(pinned);
        }
        finally
        {
            revision.Release();
        }
    }

    /// Retires everything; later loads fail.
    public void Close()
    {
        ImmutableSortedDictionary<string, AdapterRevision> revisions;
        lock (_gate)
        {
            _isClosed = true;
            revisions = _state.Revisions;
            Replace(Empty);
        }

        foreach (var revision in revisions.Values)
        {
            revision.Retire();
        }
    }

    private static string[] AdapterFolders(string directory)
    {
        if (!Directory.Exists(directory))
        {
            throw new AdapterIncompatibleException($"'{directory}' is not a folder");
        }

        return [.. Directory.EnumerateDirectories(directory).Where(folder => File.Exists(Path.Combine(folder, "adapter_config.json"))).Order(StringComparer.Ordinal)];
    }

    private void RefuseTaken(AdapterSource source)
    {
        if (source.Name == modelName)
        {
            throw new RequestInvalidException($"lora_name is '{source.Name}', which is the base model's name", "lora_name");
        }

        if (!source.Replace && _state.Revisions.ContainsKey(source.Name))
        {
            throw new RequestInvalidException($"an adapter named '{source.Name}' is loaded already; unload it first or replace it in place", "lora_name");
        }
    }

    private KeyValuePair<string, AdapterRevision> WithFreeName(AdapterRevision revision)
    {
        RefuseTaken(revision.Source);
        return new KeyValuePair<string, AdapterRevision>(revision.Name, revision);
    }

    private AdapterRevision Read(AdapterSource source, IProgress<LoadProgress>? progress, CancellationToken ct)
    {
        if (!Directory.Exists(source.Path))
        {
            throw new AdapterIncompatibleException($"'{source.Path}' is not a folder");
        }

        var chatTemplate = folders.Read(source.Path);
        try
        {
            return new AdapterRevision(source, native.LoadAdapter(new AdapterImage.Files(source.Path), source.Pinned, progress, ct), chatTemplate, time.GetUtcNow());
        }
        catch (SLoRAException error) when (error is not AdapterIncompatibleException and not OutOfDeviceMemoryException && !error.IsFatal)
        {
            throw new AdapterIncompatibleException(error.Status, error.Message, error);
        }
    }

    private void Publish(AdapterSource source, AdapterRevision revision)
    {
        AdapterRevision? replaced;
        lock (_gate)
        {
            try
            {
                ObjectDisposedException.ThrowIf(_isClosed, this);
                RefuseTaken(source);
            }
            catch
            {
                revision.Retire();
                throw;
            }

            _state.Revisions.TryGetValue(source.Name, out replaced);
            Replace(_state.Revisions.SetItem(source.Name, revision));
        }

        replaced?.Retire();
    }

    private void Replace(ImmutableSortedDictionary<string, AdapterRevision> revisions)
    {
        var old = _state;
        _state = new State(revisions, new CancellationTokenSource());

        // Whoever listens may look at the catalogue again: not on this thread, which holds the lock.
        _ = old.Changed.CancelAsync();
    }

    private sealed record State(ImmutableSortedDictionary<string, AdapterRevision> Revisions, CancellationTokenSource Changed);
}
