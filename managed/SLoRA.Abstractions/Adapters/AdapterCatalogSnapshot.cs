// The adapters at one moment. Replaced as a whole, never changed.
namespace SLoRA;

/// <summary>The adapters of a catalogue at one moment.</summary>
/// <param name="Adapters">Sorted by name.</param>
/// <param name="Changed">Cancelled when a newer snapshot exists: register on it to be told.</param>
public sealed record AdapterCatalogSnapshot(IReadOnlyList<AdapterInfo> Adapters, CancellationToken Changed);
