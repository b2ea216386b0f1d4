// The numeric formats an engine can compute in.
namespace SLoRA;

/// <summary>Numeric format of weights, KV and adapter pages.</summary>
public enum ComputeDtype
{
    /// <summary>32-bit floating point.</summary>
    F32 = 0,

    /// <summary>bfloat16.</summary>
    Bf16 = 1,

    /// <summary>16-bit floating point; not on the host backend.</summary>
    F16 = 2,
}
