// Options of batches and the queue.
using System.ComponentModel.DataAnnotations;

namespace SLoRA;

/// <summary>Options of batches and the queue.</summary>
public sealed class SchedulerOptions
{
    /// <summary>Most tokens in one step; 0: 2048.</summary>
    [Range(0, 32768)]
    public int MaxBatchTokens { get; set; }

    /// <summary>Most sequences at a time; 0: 256.</summary>
    [Range(0, 65536)]
    public int MaxSequences { get; set; }

    /// <summary>Most sequences in one step; 0: as many as there may be.</summary>
    [Range(0, 16384)]
    public int MaxBatchRows { get; set; }

    /// <summary>Most sequences that wait; more are refused with a time to try again.</summary>
    [Range(1, 1000000)]
    public int MaxQueue { get; set; } = 1024;

    /// <summary>Most tokens of one prompt in a step while others decode; 0: no limit but the step's.</summary>
    [Range(0, 1048576)]
    public int PrefillChunk { get; set; } = 512;
}
