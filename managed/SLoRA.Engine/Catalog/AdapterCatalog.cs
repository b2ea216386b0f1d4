// Names to adapters: registered, loaded or asked of a resolver. Readers see an immutable map; writers replace it under a
// lock, and loads themselves run outside the lock, so that a slow disk holds up nobody.
using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using SLoRA.Engine.Native;
using SLoRA.Engine.Text;

namespace SLoRA.Engine.Catalog;

internal sealed class AdapterCatalog(
    INativeEngine native, IAdapterFolderReader folders, IReadOnlyList<IAdapterResolver> resolvers, string modelName, TimeProvider time, ILogger logger)
    : IAdapterCatalog
{
    private static readonly ImmutableSortedDictionary<string, RegisteredAdapter> Empty = ImmutableSortedDictionary.Create<string, RegisteredAdapter>(StringComparer.Ordinal);

    private readonly HostStore _store = new(native, folders, time);
    private readonly Lock _gate = new();
    private volatile State _state = new(Empty, new CancellationTokenSource());
    private bool _isClosed;

    /// Told how long each successful read took.
    public Action<TimeSpan>? AdapterRead
    {
        get => _store.AdapterRead;
        set => _store.AdapterRead = value;
    }

    public HostStore Store => _store;

    public IReadOnlyList<AdapterInfo> Adapters => Snapshot().Adapters;

    public int Count => _state.Adapters.Count;

    public AdapterCatalogSnapshot Snapshot()
    {
        var state = _state;
        return new AdapterCatalogSnapshot([.. state.Adapters.Values.Select(adapter => adapter.Describe())], state.Changed.Token);
    }

    public AdapterInfo? Find(string name) => _state.Adapters.TryGetValue(name, out var adapter) ? adapter.Describe() : null;

    /// The registered adapters that are a folder of `directory` under its own name, by name.
    public Dictionary<string, RegisteredAdapter> In(string directory) =>
        _state.Adapters.Values.Where(adapter => AdapterFolder.IsOf(directory, adapter.Name, adapter.Source.Path)).ToDictionary(adapter => adapter.Name, StringComparer.Ordinal);

    /// The current revision of an adapter, held until Release; completes at once if it is loaded.
    public ValueTask<AdapterRevision> AcquireAsync(string name, CancellationToken ct) =>
        _state.Adapters.TryGetValue(name, out var adapter) && adapter.TryAcquire() is { } revision
            ? ValueTask.FromResult(revision)
            : new ValueTask<AdapterRevision>(LoadAndAcquireAsync(name, ct));

    public async Task<AdapterInfo> EnsureLoadedAsync(string name, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(name);
        var revision = await AcquireAsync(name, ct).ConfigureAwait(false);
        try
        {
            return revision.Describe();
        }
        finally
        {
            revision.Release();
        }
    }

    public AdapterInfo Register(AdapterSource source)
    {
        ArgumentNullException.ThrowIfNull(source);
        var adapter = ReadConfig(source);
        Publish([adapter], replace: source.Replace);
        return adapter.Describe();
    }

    public async Task<IReadOnlyList<AdapterFailure>> RegisterDirectoryAsync(
        string directory, bool strict = false, IProgress<LoadProgress>? progress = null, CancellationToken ct = default)
    {
        var (adapters, failures) = await new DirectoryReader(this, directory, strict, progress).ReadAsync(ct).ConfigureAwait(false);
        Publish(adapters, replace: false);
        foreach (var failure in failures)
        {
            EngineLog.AdapterFailed(logger, failure.Name, failure.Reason);
        }

        return failures;
    }

    public async Task<AdapterInfo> LoadAsync(AdapterSource source, IProgress<LoadProgress>? progress = null, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        source.Validate();
        RefuseTaken(source.Name, source.Replace);
        var stamp = AdapterFolder.StampOf(source.Path);
        var revision = await _store.LoadAsync(source, progress, ct).ConfigureAwait(false);
        try
        {
            Publish([RegisteredAdapter.Of(revision, stamp, time.GetUtcNow())], source.Replace);
        }
        catch
        {
            revision.Retire();
            throw;
        }

        var info = revision.Describe();
        EngineLog.AdapterLoaded(logger, info.Name, info.LoraRank, info.Bytes, info.Pages);
        return info;
    }

    public async Task<IReadOnlyList<AdapterFailure>> LoadDirectoryAsync(
        string directory, bool strict = false, IProgress<LoadProgress>? progress = null, CancellationToken ct = default)
    {
        var (adapters, failures) = await new DirectoryReader(this, directory, strict, null).ReadAsync(ct).ConfigureAwait(false);
        var loader = new DirectoryLoader(adapters, failures, LoadAsync, progress, logger);
        return await loader.LoadAsync(strict, ct).ConfigureAwait(false);
    }

    public async Task LoadSyntheticAsync(SyntheticAdapters adapters, IProgress<LoadProgress>? progress = null, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(adapters);
        adapters.Validate();
        var made = new AdapterRevision?[adapters.Count];
        try
        {
            await new SyntheticLoader(native, adapters, progress, time).LoadAsync(made, ct).ConfigureAwait(false);
            Publish([.. made.Select(revision => RegisteredAdapter.Of(revision!, default, time.GetUtcNow()))], replace: false);
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
        if (Remove(name) is not { } adapter)
        {
            return false;
        }

        var idle = adapter.Remove();
        EngineLog.AdapterUnloaded(logger, name);
        if (mode == UnloadMode.WhenIdle)
        {
            await idle.WaitAsync(ct).ConfigureAwait(false);
        }

        return true;
    }

    public void SetPinned(string name, bool pinned)
    {
        if (!_state.Adapters.TryGetValue(name, out var adapter))
        {
            throw new AdapterNotFoundException(name);
        }

        adapter.SetPinned(pinned);
    }

    /// Retires everything; later loads fail.
    public void Close()
    {
        ImmutableSortedDictionary<string, RegisteredAdapter> adapters;
        lock (_gate)
        {
            _isClosed = true;
            adapters = _state.Adapters;
            Replace(Empty);
        }

        foreach (var adapter in adapters.Values)
        {
            adapter.Remove();
        }
    }

    /// Reads what costs little; registers nothing.
    public RegisteredAdapter ReadConfig(AdapterSource source)
    {
        source.Validate();
        if (!Directory.Exists(source.Path))
        {
            throw new AdapterIncompatibleException($"'{source.Path}' is not a folder");
        }

        // Stamped first: what is written while it is read counts as changed.
        var stamp = AdapterFolder.StampOf(source.Path);
        return new RegisteredAdapter(source, AdapterFolder.ReadRank(source.Path), stamp, time.GetUtcNow());
    }

    /// Enters adapters under their names, all or none.
    public void Publish(IReadOnlyCollection<RegisteredAdapter> adapters, bool replace)
    {
        if (adapters.Count == 0)
        {
            return;
        }

        var replaced = new List<RegisteredAdapter>();
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isClosed, this);
            foreach (var adapter in adapters)
            {
                RefuseTaken(adapter.Name, replace);
                if (_state.Adapters.TryGetValue(adapter.Name, out var old))
                {
                    replaced.Add(old);
                }
            }

            Replace(_state.Adapters.SetItems(adapters.Select(adapter => KeyValuePair.Create(adapter.Name, adapter))));
        }

        replaced.ForEach(adapter => adapter.Remove());
    }

    public void RefuseTaken(string name, bool replace)
    {
        if (name == modelName)
        {
            throw new RequestInvalidException($"lora_name is '{name}', which is the base model's name", "lora_name");
        }

        if (!replace && _state.Adapters.ContainsKey(name))
        {
            throw new RequestInvalidException($"an adapter named '{name}' is loaded already; unload it first or replace it in place", "lora_name");
        }
    }

    private RegisteredAdapter? Remove(string name)
    {
        lock (_gate)
        {
            if (!_state.Adapters.TryGetValue(name, out var adapter))
            {
                return null;
            }

            Replace(_state.Adapters.Remove(name));
            return adapter;
        }
    }

    private async Task<AdapterRevision> LoadAndAcquireAsync(string name, CancellationToken ct)
    {
        while (true)
        {
            if (!_state.Adapters.TryGetValue(name, out var adapter))
            {
                adapter = await ResolveAsync(name, ct).ConfigureAwait(false) ?? throw new AdapterNotFoundException(name);
            }

            // Null: the adapter has been replaced or removed meanwhile. Look again.
            if (await adapter.AcquireAsync(source => _store.LoadAsync(source, null, CancellationToken.None), ct).ConfigureAwait(false) is { } revision)
            {
                return revision;
            }
        }
    }

    private async Task<RegisteredAdapter?> ResolveAsync(string name, CancellationToken ct)
    {
        if (name == modelName || !AdapterSource.IsValidName(name))
        {
            return null;
        }

        foreach (var resolver in resolvers)
        {
            if (await resolver.ResolveAsync(name, ct).ConfigureAwait(false) is not { } source)
            {
                continue;
            }

            var found = ReadConfig(source with { Name = name });
            lock (_gate)
            {
                ObjectDisposedException.ThrowIf(_isClosed, this);
                if (_state.Adapters.TryGetValue(name, out var first))
                {
                    return first;
                }

                Replace(_state.Adapters.SetItem(name, found));
                return found;
            }
        }

        return null;
    }

    private void Replace(ImmutableSortedDictionary<string, RegisteredAdapter> adapters)
    {
        var old = _state;
        _state = new State(adapters, new CancellationTokenSource());

        // Whoever listens may look at the catalogue again: not on this thread, which holds the lock.
        _ = old.Changed.CancelAsync();
    }

    private sealed record State(ImmutableSortedDictionary<string, RegisteredAdapter> Adapters, CancellationTokenSource Changed);
}
