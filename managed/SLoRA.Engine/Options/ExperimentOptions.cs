// What is put in place of the engine's own ideas, to measure what they are worth.
using System.ComponentModel.DataAnnotations;

namespace SLoRA;

/// <summary>Experiments: what other systems do in place of this engine's ideas, for comparisons. Tokens are the same.</summary>
public sealed class ExperimentOptions
{
    /// <summary>How KV and adapters share the pool.</summary>
    [EnumDataType(typeof(ExperimentMemory))]
    public ExperimentMemory Memory { get; set; }

    /// <summary>How LoRA is computed.</summary>
    [EnumDataType(typeof(ExperimentLora))]
    public ExperimentLora Lora { get; set; }

    /// <summary>How batches are made.</summary>
    [EnumDataType(typeof(ExperimentScheduling))]
    public ExperimentScheduling Scheduling { get; set; }

    /// <summary>Split memory: bytes of the mean adapter image.</summary>
    [Range(0, long.MaxValue)]
    public long MeanAdapterBytes { get; set; }

    /// <summary>Split memory: adapters at a time; 0: as many as sequences in a step.</summary>
    [Range(0, 65536)]
    public int Concurrency { get; set; }

    /// <summary>Whether everything is the engine's own.</summary>
    internal bool IsNone => Memory == ExperimentMemory.Unified && Lora == ExperimentLora.Paged && Scheduling == ExperimentScheduling.Mixed;

    /// <summary>What is wrong with the values together, one line each.</summary>
    internal IEnumerable<string> Problems()
    {
        if (Memory == ExperimentMemory.Split && MeanAdapterBytes < 1)
        {
            yield return $"Experiment.MeanAdapterBytes is {MeanAdapterBytes}; split memory needs at least 1";
        }

        if (Lora == ExperimentLora.Merged && Scheduling != ExperimentScheduling.PerAdapter)
        {
            yield return $"Experiment.Scheduling is {Scheduling}; merged adapters need {ExperimentScheduling.PerAdapter}";
        }
    }
}

/// <summary>How KV and adapters share the pool.</summary>
public enum ExperimentMemory
{
    /// <summary>The engine's own: each takes the other's pages.</summary>
    Unified,

    /// <summary>A fixed contiguous region for adapters, by first fit; KV in the rest.</summary>
    Split,
}

/// <summary>How LoRA is computed.</summary>
public enum ExperimentLora
{
    /// <summary>The engine's own kernels, in place.</summary>
    Paged,

    /// <summary>Batched products over gathered, padded tensors.</summary>
    Padded,

    /// <summary>One adapter at a time merged into the weights.</summary>
    Merged,
}

/// <summary>How batches are made.</summary>
public enum ExperimentScheduling
{
    /// <summary>The engine's own: any adapters beside each other, joining and leaving at every step.</summary>
    Mixed,

    /// <summary>Static batches of one adapter.</summary>
    PerAdapter,
}
