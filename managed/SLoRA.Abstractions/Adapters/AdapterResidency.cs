// Where an adapter's weights are.
namespace SLoRA;

/// <summary>Where an adapter's weights are.</summary>
public enum AdapterResidency
{
    /// <summary>In host memory only.</summary>
    Host,

    /// <summary>On the way into pool pages.</summary>
    Loading,

    /// <summary>In pool pages, usable at once.</summary>
    Device,

    /// <summary>Registered: on disk only, read when a request names it.</summary>
    Disk,
}
