// What `slora bench tp` found, as JSON.
namespace SLoRA.Cli.Bench.TensorParallel;

internal sealed record TpReport(IReadOnlyList<TrafficRow> Traffic, IReadOnlyList<PredictionRow> Predictions);

/// Counted against the formulas, one prefill step. Equal or the command fails.
internal sealed record TrafficRow(string Model, int Ranks, string Set, int Tokens, long Collectives, long ExpectedCollectives, double PerLayer, long SentBytes, long ExpectedSentBytes)
{
    public bool IsAsExpected => Collectives == ExpectedCollectives && SentBytes == ExpectedSentBytes;
}

internal sealed record PredictionRow(string Card, string Model, string Step, string Set, int Ranks, bool Fits, double Microseconds, double CollectiveShare, double LoraLoss, double SpeedUp);
