// Which resident adapter gives way first.
namespace SLoRA;

/// <summary>Which resident adapter gives its pages up first, of those that nobody uses.</summary>
public enum AdapterEviction
{
    /// <summary>The library's choice: <see cref="Cost"/>.</summary>
    Default,

    /// <summary>The one that was used longest ago.</summary>
    Lru,

    /// <summary>Reload cost and frequency of use a page, aged (GreedyDual-Size-Frequency).</summary>
    Cost,
}
