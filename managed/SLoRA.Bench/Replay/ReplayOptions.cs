// How a trace is replayed.
namespace SLoRA.Bench.Replay;

internal sealed record ReplayOptions
{
    /// A first token within this many seconds of a request's arrival meets the objective.
    public double SloSeconds { get; init; } = 6;

    public ReplayWindow Window { get; init; } = ReplayWindow.Default;

    /// true: everything ends with the window; what runs then counts as stopped.
    public bool StopAtWindowEnd { get; init; }

    /// Token ids of prompts are drawn from [0, VocabularySize).
    public int VocabularySize { get; init; } = 32000;

    public ulong PromptSeed { get; init; } = 7;
}
