// The non-negative statuses of slora_engine_submit, by name.
using SLoRA.Interop.Native;

namespace SLoRA.Interop;

/// <summary>What became of a plan. All but <see cref="Submitted"/> mean that nothing changed.</summary>
public enum SubmitStatus
{
    /// <summary>The step is in flight.</summary>
    Submitted = NativeStatus.Ok,

    /// <summary>Not enough free or reclaimable pages: preempt a sequence or wait.</summary>
    DeferredPages = NativeStatus.DeferredPages,

    /// <summary>An adapter cannot become resident now: its load is in flight, or pinned and active ones fill the pool.</summary>
    DeferredAdapter = NativeStatus.DeferredAdapter,

    /// <summary>Two steps are in flight: collect one first.</summary>
    DeferredStep = NativeStatus.DeferredStep,
}
