// What a cold adapter costs its own request and the others. Seconds.
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Results;
using SLoRA.Bench.Statistics;

namespace SLoRA.Bench.Cold;

internal sealed record ColdReport
{
    public const string CurrentSchema = "slora-bench-cold/1";

    public string Schema { get; init; } = CurrentSchema;

    public required BenchEnvironment Environment { get; init; }

    public required string Model { get; init; }

    public required string Dtype { get; init; }

    public int LoraRank { get; init; }

    public long AdapterBytes { get; init; }

    public int PromptTokens { get; init; }

    /// Base-model sequences that decode beside.
    public int Others { get; init; }

    public required Ceilings Ceilings { get; init; }

    /// From the request to its first token, with the adapter resident and with it in host memory only.
    public required Distribution WarmFirstToken { get; init; }

    public required Distribution ColdFirstToken { get; init; }

    /// Warm, and the adapter's bytes at the measured upload rate.
    public double Ideal => WarmFirstToken.P50 + AdapterBytes / Ceilings.UploadBytesPerSecond;

    public double OverIdeal => ColdFirstToken.P50 / Ideal;

    /// The others' time per token while a warm and while a cold request waited for its first token.
    public double OthersPerTokenWarm { get; init; }

    public double OthersPerTokenCold { get; init; }

    public double OthersRise => OthersPerTokenWarm > 0 ? OthersPerTokenCold / OthersPerTokenWarm - 1 : 0;
}
