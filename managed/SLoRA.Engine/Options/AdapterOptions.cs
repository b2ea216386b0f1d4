// Which adapters an engine starts with.
namespace SLoRA;

/// <summary>Adapters to load at start.</summary>
public sealed class AdapterOptions
{
    /// <summary>Folders of adapter folders; an adapter's name is its folder's.</summary>
    public IList<string> Directories { get; } = [];

    /// <summary>Single adapters.</summary>
    public IList<AdapterEntry> Entries { get; } = [];

    /// <summary>true: a bad adapter stops the start; false: it is named in the log and the others are served.</summary>
    public bool Strict { get; set; }
}
