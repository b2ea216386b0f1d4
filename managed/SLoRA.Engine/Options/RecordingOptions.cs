// Options of recorded decode steps.
using System.ComponentModel.DataAnnotations;

namespace SLoRA;

/// <summary>Options of recorded decode steps.</summary>
public sealed class RecordingOptions
{
    /// <summary>When steps are recorded.</summary>
    [EnumDataType(typeof(StepRecording))]
    public StepRecording When { get; set; }

    /// <summary>Recorded steps kept; beyond it those go that were used longest ago; 0: 512.</summary>
    [Range(0, 65536)]
    public int MaxRecordings { get; set; }

    /// <summary>Device memory that they may hold on each rank, in bytes; 0: 512 MiB, or a quarter of what is free if that is less.</summary>
    [Range(0, long.MaxValue)]
    public long Bytes { get; set; }
}
