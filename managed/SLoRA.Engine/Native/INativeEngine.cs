// The native engine as the loop uses it: the seam between C# and the library, and where tests put a fake. Statuses and
// thread rules are those of interop/include/slora/engine.h; errors are SLoRAException. None of the step's calls may
// allocate.
using SLoRA.Scheduling.Planning;

namespace SLoRA.Engine.Native;

internal interface INativeEngine : IDisposable
{
    NativeGeometry Geometry { get; }

    // Engine thread only, from here ...
    StepStatus CreateSequence(SequenceStart start);

    void ReleaseSequence(ulong sequenceId);

    void PreemptSequence(ulong sequenceId);

    StepStatus Submit(ReadOnlySpan<PlannedRow> rows, ReadOnlySpan<ulong> prefetch);

    StepStatus Collect(StepOutcome outcome);

    /// Proves the pool's invariants; throws if one is broken.
    void Check();

    // ... to here. The rest from any thread.
    NativeCounters GetCounters();

    INativeAdapter LoadAdapter(AdapterImage image, bool pinned, IProgress<LoadProgress>? progress, CancellationToken ct);
}
