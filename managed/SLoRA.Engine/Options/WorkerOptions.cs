// A rank after the first.
using System.ComponentModel.DataAnnotations;

namespace SLoRA;

/// <summary>Options of a worker: which rank of whose model this process is.</summary>
public sealed class WorkerOptions
{
    /// <summary>The rank, from 1.</summary>
    [Range(1, 63)]
    public int TensorParallelRank { get; set; } = 1;

    /// <summary>host:port at which rank 0 awaits (<see cref="TensorParallelOptions.Listen"/>).</summary>
    [Required]
    public string Join { get; set; } = string.Empty;

    /// <summary>Rank 0's secret; null: the environment variable SLORA_TP_SECRET. Never sent.</summary>
    public string? Secret { get; set; }

    /// <summary>Where this host has the model; null: where rank 0 has it.</summary>
    public string? ModelPath { get; set; }

    /// <summary>The native library and this rank's device. Rank 0 chooses the backend.</summary>
    public NativeOptions Native { get; set; } = new();

    /// <summary>How long to wait for the other ranks to come, in seconds.</summary>
    [Range(1, 86_400)]
    public int JoinLimitSeconds { get; set; } = 60;

    /// <summary>How long a rank may not answer before it counts as lost, in seconds.</summary>
    [Range(1, 86_400)]
    public int TimeLimitSeconds { get; set; } = 30;
}
