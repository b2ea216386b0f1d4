using SLoRA.Interop.Native;

namespace SLoRA.Interop;

/// <summary>How to read a base model.</summary>
public sealed record NativeModelLoadOptions
{
    /// <summary>Folder with config.json and model.safetensors or model.safetensors.index.json.</summary>
    public required string Path { get; init; }

    /// <summary>Where it runs. <see cref="NativeBackend.Cuda"/> fails where no device answers.</summary>
    public NativeBackend Backend { get; init; } = NativeBackend.Auto;

    /// <summary>Format of packed weights, KV and adapter pages.</summary>
    public NativeDtype ComputeDtype { get; init; } = NativeDtype.Bf16;

    /// <summary>The CUDA device; 0 on the host.</summary>
    public int DeviceIndex { get; init; }

    /// <summary>Host compute threads, 1..256; 0: one a core.</summary>
    public int NumThreads { get; init; }

    /// <summary>Whether only config.json is read and the weights are random.</summary>
    public bool Synthetic { get; init; }

    /// <summary>Seed of random weights.</summary>
    public ulong SyntheticSeed { get; init; }
}
