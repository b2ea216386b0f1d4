// The fixed numbers a scheduler works within: the engine's published geometry, and the queue's bound.
namespace SLoRA.Scheduling.Planning;

internal sealed record SchedulerLimits
{
    public required int TokensPerPage { get; init; }

    public required int TotalPages { get; init; }

    /// Sequences that may exist natively at a time.
    public required int MaxSequences { get; init; }

    /// Tokens of one step.
    public required int MaxBatchTokens { get; init; }

    /// Rows of one step.
    public required int MaxBatchRows { get; init; }

    /// Most tokens of one sequence in one step while others decode: bounds how long a long prompt holds them up.
    public int PrefillChunkTokens { get; init; } = int.MaxValue;

    /// Adapters of waiting sequences that a plan names, for the library to bring near and keep.
    public int MaxPrefetch { get; init; } = 64;
}
