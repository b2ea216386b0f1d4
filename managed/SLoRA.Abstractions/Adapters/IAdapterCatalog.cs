// The names under which adapters are served. Safe for concurrent use. An adapter is registered (on disk), loaded (packed in
// host memory) and resident (in pool pages); requests may name it in any of the three.
namespace SLoRA;

/// <summary>The adapters of an engine, by name. Safe for concurrent use; changes while requests run.</summary>
public interface IAdapterCatalog
{
    /// <summary>The adapters now.</summary>
    IReadOnlyList<AdapterInfo> Adapters { get; }

    /// <summary>The adapters now, with a token that tells of the next change.</summary>
    AdapterCatalogSnapshot Snapshot();

    /// <summary>How many there are; costs nothing, unlike <see cref="Adapters"/>.</summary>
    int Count { get; }

    /// <summary>One adapter, or null.</summary>
    /// <param name="name">Its name.</param>
    AdapterInfo? Find(string name);

    /// <summary>Reads an adapter, checks it against the model and serves it under its name.</summary>
    /// <param name="source">Name, folder, and whether it may replace another.</param>
    /// <param name="progress">Told of the bytes read; may be null.</param>
    /// <param name="ct">Ends the load; nothing is changed then.</param>
    /// <exception cref="AdapterIncompatibleException">The files are missing, wrong or for another model.</exception>
    /// <exception cref="RequestInvalidException">The name cannot be used, or is taken and Replace is false.</exception>
    Task<AdapterInfo> LoadAsync(AdapterSource source, IProgress<LoadProgress>? progress = null, CancellationToken ct = default);

    /// <summary>Serves an adapter under its name without reading more than its configuration; its weights are read when a
    /// request names it.</summary>
    /// <param name="source">Name, folder, and whether it may replace another.</param>
    /// <exception cref="AdapterIncompatibleException">The folder or its configuration is missing or wrong.</exception>
    /// <exception cref="RequestInvalidException">The name cannot be used, or is taken and Replace is false.</exception>
    AdapterInfo Register(AdapterSource source);

    /// <summary>Registers each folder in <paramref name="directory"/> that has an <c>adapter_config.json</c>, under the
    /// folder's name. A bad one does not keep the others from being served.</summary>
    /// <param name="directory">The folder of folders.</param>
    /// <param name="strict">true: a bad adapter ends this with its exception, and nothing is registered.</param>
    /// <param name="progress">Told of the configurations read; may be null.</param>
    /// <param name="ct">Ends it; nothing is registered then.</param>
    /// <returns>The adapters that were not registered, with the reason of each.</returns>
    Task<IReadOnlyList<AdapterFailure>> RegisterDirectoryAsync(string directory, bool strict = false, IProgress<LoadProgress>? progress = null, CancellationToken ct = default);

    /// <summary>Waits until an adapter is loaded: reads it if it is only registered, and asks the resolvers if it is not
    /// even that.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="ct">Ends the wait, not the load.</param>
    /// <exception cref="AdapterNotFoundException">Nobody knows it.</exception>
    /// <exception cref="AdapterIncompatibleException">Its files are missing, wrong or for another model.</exception>
    /// <exception cref="OutOfDeviceMemoryException">It does not fit into the host adapter budget.</exception>
    Task<AdapterInfo> EnsureLoadedAsync(string name, CancellationToken ct = default);

    /// <summary>Registers and loads each folder in <paramref name="directory"/> that has an <c>adapter_config.json</c>, under
    /// the folder's name, several at a time. A bad one does not keep the others from being served.</summary>
    /// <param name="directory">The folder of folders.</param>
    /// <param name="strict">true: a bad adapter ends the load with its exception.</param>
    /// <param name="progress">Told of the adapters done; may be null.</param>
    /// <param name="ct">Ends the load after the adapters it is at.</param>
    /// <returns>The adapters that were not loaded, with the reason of each.</returns>
    Task<IReadOnlyList<AdapterFailure>> LoadDirectoryAsync(string directory, bool strict = false, IProgress<LoadProgress>? progress = null, CancellationToken ct = default);

    /// <summary>Makes adapters with random weights and serves them all, or none.</summary>
    /// <param name="adapters">How many, of which ranks, on how many images.</param>
    /// <param name="progress">Told of the adapters done; may be null.</param>
    /// <param name="ct">Ends the load; nothing is changed then.</param>
    /// <exception cref="RequestInvalidException">A value is outside its limits, or a name is taken.</exception>
    /// <exception cref="OutOfDeviceMemoryException">The host adapter budget is spent.</exception>
    Task LoadSyntheticAsync(SyntheticAdapters adapters, IProgress<LoadProgress>? progress = null, CancellationToken ct = default);

    /// <summary>Takes a name out of service.</summary>
    /// <param name="name">The adapter.</param>
    /// <param name="mode">When the task completes.</param>
    /// <param name="ct">Ends the wait, not the unload.</param>
    /// <returns>false if there is no such adapter.</returns>
    Task<bool> UnloadAsync(string name, UnloadMode mode = UnloadMode.WhenIdle, CancellationToken ct = default);

    /// <summary>Pins an adapter, or lets it go.</summary>
    /// <param name="name">The adapter.</param>
    /// <param name="pinned">true: once resident it is not evicted.</param>
    /// <exception cref="AdapterNotFoundException">There is no such adapter.</exception>
    void SetPinned(string name, bool pinned);
}
