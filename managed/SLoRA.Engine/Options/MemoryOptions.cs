// Options of the page pool.
using System.ComponentModel.DataAnnotations;

namespace SLoRA;

/// <summary>Options of the page pool.</summary>
public sealed class MemoryOptions
{
    /// <summary>Bytes of the pool; 0: a rule by free memory.</summary>
    [Range(0, long.MaxValue)]
    public long PoolBytes { get; set; }

    /// <summary>Tokens of a page, a power of two; 0: 16.</summary>
    [Range(0, 256)]
    public int PageTokens { get; set; }

    /// <summary>Budget of adapter images in host memory in bytes; 0: no limit.</summary>
    [Range(0, long.MaxValue)]
    public long HostAdapterBytes { get; set; }

    /// <summary>Which resident adapter gives its pages up first.</summary>
    [EnumDataType(typeof(AdapterEviction))]
    public AdapterEviction Eviction { get; set; }

    /// <summary>Tokens of one sequence; 0: the model's own limit.</summary>
    [Range(0, int.MaxValue)]
    public int MaxContext { get; set; }
}
