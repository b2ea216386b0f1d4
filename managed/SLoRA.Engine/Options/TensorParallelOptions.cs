// One model over several ranks.
using System.ComponentModel.DataAnnotations;

namespace SLoRA;

/// <summary>Options of a model that is cut over several ranks: threads of this process, or processes that join it.</summary>
public sealed class TensorParallelOptions
{
    /// <summary>The environment variable that holds the secret where <see cref="Secret"/> is not set.</summary>
    public const string SecretVariable = "SLORA_TP_SECRET";

    /// <summary>Ranks. Must divide the model's attention heads.</summary>
    [Range(1, 64)]
    public int Size { get; set; } = 1;

    /// <summary>How they share out the LoRA updates.</summary>
    [EnumDataType(typeof(LoraSharding))]
    public LoraSharding LoraSharding { get; set; } = LoraSharding.Aligned;

    /// <summary>The ranks' CUDA devices, one each; empty: Native.DeviceIndex and those after it.</summary>
    public IList<int> Devices { get; } = [];

    /// <summary>
    /// host:port at which the other ranks are awaited, which are processes (slora worker) on this host, or on any with CUDA;
    /// null: they are threads of this process.
    /// </summary>
    public string? Listen { get; set; }

    /// <summary>What they must know; null: the environment variable SLORA_TP_SECRET. Never sent.</summary>
    public string? Secret { get; set; }

    /// <summary>How long to wait for them to come, in seconds.</summary>
    [Range(1, 86_400)]
    public int JoinLimitSeconds { get; set; } = 60;

    /// <summary>How long a rank may not answer before it counts as lost and the engine fails, in seconds.</summary>
    [Range(1, 86_400)]
    public int TimeLimitSeconds { get; set; } = 30;

    internal string? ResolveSecret() => Secret ?? Environment.GetEnvironmentVariable(SecretVariable);
}
