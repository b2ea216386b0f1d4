// One step as a value: who runs, how many tokens, which adapters to bring near, who gives pages back first and who is
// new. Its arrays live as long as the scheduler; a plan is filled, submitted, collected and filled again.
using System.Runtime.InteropServices;

namespace SLoRA.Scheduling.Planning;

internal sealed class BatchPlan
{
    private readonly PlannedRow[] _rows;
    private readonly ScheduledSequence[] _sequences;
    private readonly ulong[] _prefetch;
    private readonly List<ScheduledSequence> _admitted = new(64);
    private readonly List<ScheduledSequence> _preempted = new(64);

    public BatchPlan(int maxRows, int maxPrefetch)
    {
        _rows = new PlannedRow[maxRows];
        _sequences = new ScheduledSequence[maxRows];
        _prefetch = new ulong[maxPrefetch];
    }

    public int NumRows { get; private set; }

    public int NumTokens { get; private set; }

    public int NumAdapters { get; internal set; }

    public int NumPrefetch { get; internal set; }

    public ReadOnlySpan<PlannedRow> Rows => _rows.AsSpan(0, NumRows);

    /// The sequences of Rows, in the same order.
    public ReadOnlySpan<ScheduledSequence> Sequences => _sequences.AsSpan(0, NumRows);

    public ReadOnlySpan<ulong> Prefetch => _prefetch.AsSpan(0, NumPrefetch);

    internal Span<ulong> PrefetchRoom => _prefetch;

    /// Sequences to be created natively before the submit; none of them exists there yet.
    public ReadOnlySpan<ScheduledSequence> Admitted => CollectionsMarshal.AsSpan(_admitted);

    /// Sequences to be preempted natively before anything else; no step in flight names them.
    public ReadOnlySpan<ScheduledSequence> Preempted => CollectionsMarshal.AsSpan(_preempted);

    internal List<ScheduledSequence> AdmittedList => _admitted;

    internal List<ScheduledSequence> PreemptedList => _preempted;

    public bool IsInFlight { get; internal set; }

    internal void Add(ScheduledSequence sequence, int numTokens)
    {
        var sample = numTokens == sequence.RemainingTokens;
        _rows[NumRows] = new PlannedRow(sequence.Id.Value, numTokens, sequence.NumComputed, sample);
        _sequences[NumRows++] = sequence;
        NumTokens += numTokens;
    }

    internal void Clear()
    {
        // Sequences are cleared so that a plan at rest keeps no ended sequence alive.
        _sequences.AsSpan(0, NumRows).Clear();
        _admitted.Clear();
        _preempted.Clear();
        NumRows = 0;
        NumTokens = 0;
        NumAdapters = 0;
        NumPrefetch = 0;
    }
}
