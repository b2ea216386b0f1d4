// One sequence as the scheduler sees it: lengths and phase, no tokens. The owner (the engine's loop) hangs its own
// state on it by deriving.
//
// Holds always: NumComputed <= NumTokens <= MaxTokens, and NumTokens - NumComputed >= 1 unless the sample that reaches
// MaxTokens is in flight. Both counts include steps in flight: they are what the native engine believes too.
namespace SLoRA.Scheduling.Planning;

internal class ScheduledSequence
{
    private readonly AdapterUse[] _adapters;

    public ScheduledSequence(SequenceId id, int promptTokens, int maxTokens, AdapterUse[] adapters)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(promptTokens, 1);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(maxTokens, promptTokens);
        Id = id;
        NumPromptTokens = promptTokens;
        NumTokens = promptTokens;
        MaxTokens = maxTokens;
        _adapters = adapters;
    }

    public SequenceId Id { get; }

    public int NumPromptTokens { get; }

    /// Prompt and output in all.
    public int MaxTokens { get; }

    public ReadOnlySpan<AdapterUse> Adapters => _adapters;

    public SequencePhase Phase { get; internal set; }

    /// Place in the order of arrival; smaller is older. Given by the scheduler.
    public ulong Arrival { get; internal set; }

    /// TimeProvider timestamp of arrival.
    public long ArrivedAt { get; internal set; }

    public int NumTokens { get; internal set; }

    public int NumComputed { get; internal set; }

    public int RowsInFlight { get; internal set; }

    public int Preemptions { get; internal set; }

    /// It exists in the native engine: it has a slot there and references on its adapters.
    public bool HasSlot { get; internal set; }

    /// The last plan that has a row of it.
    internal ulong PlannedIn { get; set; }

    public int RemainingTokens => NumTokens - NumComputed;

    /// The sample that ends it is in flight: it needs no further row.
    public bool IsLastSampleInFlight => NumTokens == MaxTokens && RowsInFlight > 0;
}
