// What the machine could have done at best on the same trace.
using SLoRA.Bench.Statistics;

namespace SLoRA.Bench.Results;

internal sealed record BoundSummary
{
    public double WallSeconds { get; init; }

    public double RequestsPerSecond { get; init; }

    public double OutputTokensPerSecond { get; init; }

    public required Distribution FirstToken { get; init; }

    public required Distribution TimePerToken { get; init; }

    public int LargestBatch { get; init; }

    public required WindowSummary Window { get; init; }
}
