// When an unload is done.
namespace SLoRA;

/// <summary>When an unload is done. In both modes the name is gone at once, and requests that hold the adapter end
/// with it.</summary>
public enum UnloadMode
{
    /// <summary>When the last request that holds the adapter has ended.</summary>
    WhenIdle,

    /// <summary>At once; the memory goes with the last request that holds the adapter.</summary>
    Detach,
}
