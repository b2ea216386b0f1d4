// When the adapters of a folder are read.
namespace SLoRA;

/// <summary>When the adapters of <see cref="AdapterOptions.Directories"/> are read.</summary>
public enum AdapterLoading
{
    /// <summary>All before the engine serves.</summary>
    AtStart,

    /// <summary>Their configurations at start, each one's weights when a request names it.</summary>
    OnUse,
}
