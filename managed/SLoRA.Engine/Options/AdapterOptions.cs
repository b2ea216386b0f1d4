// Which adapters an engine starts with, and where it finds more.
using System.ComponentModel.DataAnnotations;

namespace SLoRA;

/// <summary>Adapters to serve.</summary>
public sealed class AdapterOptions
{
    /// <summary>Folders of adapter folders; an adapter's name is its folder's.</summary>
    public IList<string> Directories { get; } = [];

    /// <summary>When the adapters of the folders are read.</summary>
    [EnumDataType(typeof(AdapterLoading))]
    public AdapterLoading Loading { get; set; } = AdapterLoading.AtStart;

    /// <summary>true: new, changed and removed adapters of the folders are picked up while the engine serves; new ones are
    /// read when a request names them.</summary>
    public bool Watch { get; set; }

    /// <summary>Seconds between two looks at the watched folders; what is new is taken at the second look that sees it
    /// unchanged.</summary>
    [Range(0.05, 86400)]
    public double WatchSeconds { get; set; } = 2;

    /// <summary>A folder of adapter folders that is looked into only when a request names an unknown adapter
    /// (<see cref="FileSystemAdapterResolver"/>); null: none.</summary>
    public string? ResolveDirectory { get; set; }

    /// <summary>Single adapters.</summary>
    public IList<AdapterEntry> Entries { get; } = [];

    /// <summary>true: a bad adapter stops the start; false: it is named in the log and the others are served.</summary>
    public bool Strict { get; set; }
}
