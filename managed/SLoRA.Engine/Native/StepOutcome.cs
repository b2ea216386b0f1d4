// Room for what a step gave. Made once, filled at each collect.
namespace SLoRA.Engine.Native;

internal sealed class StepOutcome(int maxRows, int maxLogprobs)
{
    // At least what the bindings take at a collect (StepBuffers).
    private const int MaxEvents = 4096;

    public int NumRows { get; set; }

    public RowOutcome[] Rows { get; } = new RowOutcome[maxRows];

    public TokenScore[] Logprobs { get; } = new TokenScore[maxRows * maxLogprobs];

    public int NumEvents { get; set; }

    public ResidencyChange[] Events { get; } = new ResidencyChange[MaxEvents];

    public long DeviceNs { get; set; }

    public NativeCounters Pool { get; set; }
}

// What one row gave; its most likely tokens are Logprobs[LogprobsOffset..][..NumLogprobs].
internal readonly record struct RowOutcome(
    ulong SequenceId, int TokenId, float Logprob, bool IsSampled, bool IsDropped, int LogprobsOffset, int NumLogprobs);

internal readonly record struct TokenScore(int TokenId, float Logprob);

internal readonly record struct ResidencyChange(ulong AdapterId, bool IsLoaded);
