// The life of a sequence as the scheduler sees it.
namespace SLoRA.Scheduling.Planning;

internal enum SequencePhase
{
    /// Waits; has no pages. It has native history only if it was preempted.
    Queued,

    /// Admitted: gets rows.
    Running,

    /// Admitted, but its pages are wanted: gets no rows, and is preempted when its last row in flight is collected.
    Condemned,

    /// Ended. Its rows in flight are still to be collected, and until then it keeps slot and pages.
    Ended,
}
