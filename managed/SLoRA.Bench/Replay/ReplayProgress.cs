// How far a replay is.
namespace SLoRA.Bench.Replay;

internal readonly record struct ReplayProgress(int Sent, int Ended, int Total, double Seconds, long OutputTokens)
{
    /// When the replay stops whatever has not ended; without it, it runs until all have.
    public double StopSeconds { get; init; } = double.PositiveInfinity;

    /// Of the whole: of the requests, or of the time to the stop where that is further.
    public double Share => Math.Clamp(Math.Max(Ended / (double)Math.Max(1, Total), Seconds / StopSeconds), 0, 1);

    /// At the pace so far; null: nothing tells.
    public double? SecondsLeft => Share > 0 ? Seconds * (1 - Share) / Share : null;
}
