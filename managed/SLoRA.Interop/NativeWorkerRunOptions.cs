namespace SLoRA.Interop;

/// <summary>Which rank of whose model this process is.</summary>
public sealed record NativeWorkerRunOptions
{
    /// <summary>The rank, from 1.</summary>
    public required int TensorParallelRank { get; init; }

    /// <summary>host:port at which rank 0 awaits.</summary>
    public required string Join { get; init; }

    /// <summary>Rank 0's secret.</summary>
    public required string Secret { get; init; }

    /// <summary>Where this host has the model; null: where rank 0 has it.</summary>
    public string? ModelPath { get; init; }

    /// <summary>The CUDA device; 0 on the host.</summary>
    public int DeviceIndex { get; init; }

    /// <summary>Host compute threads, 1..256; 0: one a core.</summary>
    public int NumThreads { get; init; }

    /// <summary>How long to wait for the other ranks to come, in milliseconds; 0: a minute.</summary>
    public int JoinMilliseconds { get; init; }

    /// <summary>How long a rank may not answer before it counts as lost, in milliseconds; 0: 30,000.</summary>
    public int TimeLimitMilliseconds { get; init; }
}
