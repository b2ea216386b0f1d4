// Where adapters come from that nobody has registered.
namespace SLoRA;

/// <summary>Finds an adapter by name when a request names one that the catalogue does not have. Asked on first use, from
/// any thread, possibly for the same name at the same time; what it finds is registered and loaded.</summary>
public interface IAdapterResolver
{
    /// <summary>The adapter of a name, or null if this resolver knows none; the next one is asked then.</summary>
    /// <param name="name">The name a request gave; a valid one (<see cref="AdapterSource.IsValidName"/>).</param>
    /// <param name="ct">Cancelled when nobody waits any more.</param>
    ValueTask<AdapterSource?> ResolveAsync(string name, CancellationToken ct);
}
