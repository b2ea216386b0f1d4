// A validated, tokenised request with its adapters resolved, as it is handed to the loop. After the hand-over its
// sequences belong to the loop's thread, its stream to both sides.
using SLoRA.Engine.Native;

namespace SLoRA.Engine.Loop;

internal sealed class RequestTicket
{
    public required RequestId Id { get; init; }

    public required int[] PromptTokens { get; init; }

    /// Prompt and output of each choice.
    public required int MaxTokens { get; init; }

    public required SequenceAdapter[] Adapters { get; init; }

    public required SamplingOptions Sampling { get; init; }

    public required ulong Seed { get; init; }

    public required int NumChoices { get; init; }

    /// Tokens that end a choice.
    public required int[] StopTokenIds { get; init; }

    public required TokenStream Stream { get; init; }

    /// The loop's: its live sequences by choice.
    public EngineSequence?[] Sequences { get; set; } = [];

    public int NumLive { get; set; }

    /// TimeProvider timestamps for the meters: when it was handed over, and its first token.
    public long SubmittedAt { get; set; }
}
