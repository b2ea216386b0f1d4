// Where an engine can compute.
namespace SLoRA;

/// <summary>Where an engine computes.</summary>
public enum ComputeBackend
{
    /// <summary>The environment variable SLORA_BACKEND, else CUDA if a device answers, else the host.</summary>
    Auto = 0,

    /// <summary>The processor.</summary>
    Host = 1,

    /// <summary>A CUDA device; fails where none answers.</summary>
    Cuda = 2,
}
