// One adapter of the options.
namespace SLoRA;

/// <summary>One adapter to load at start.</summary>
public sealed class AdapterEntry
{
    /// <summary>The name requests use.</summary>
    public string Name { get; set; } = string.Empty;

    /// <summary>A PEFT folder.</summary>
    public string Path { get; set; } = string.Empty;

    /// <summary>true: once resident it is not evicted.</summary>
    public bool Pinned { get; set; }
}
