// slora_model_options as a record; the call turns it into the native struct.
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

    /// <summary>Tensor-parallel ranks, 1..64.</summary>
    public int TensorParallelSize { get; init; } = 1;

    /// <summary>How the ranks share out the LoRA updates.</summary>
    public NativeLoraSharding LoraSharding { get; init; } = NativeLoraSharding.Aligned;

    /// <summary>The ranks' CUDA devices, one each; empty: <see cref="DeviceIndex"/> and those after it.</summary>
    public IReadOnlyList<int> Devices { get; init; } = [];

    /// <summary>host:port at which the other ranks, which are processes, are awaited; null: they are threads.</summary>
    public string? Listen { get; init; }

    /// <summary>What they must know; with <see cref="Listen"/> only.</summary>
    public string? Secret { get; init; }

    /// <summary>How long to wait for them to come, in milliseconds; 0: a minute.</summary>
    public int JoinMilliseconds { get; init; }

    /// <summary>How long a rank may not answer before it counts as lost, in milliseconds; 0: 30,000.</summary>
    public int TimeLimitMilliseconds { get; init; }
}
