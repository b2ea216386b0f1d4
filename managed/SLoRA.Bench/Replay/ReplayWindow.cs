// The part of a replay by which modes of very different speed are compared.
namespace SLoRA.Bench.Replay;

internal readonly record struct ReplayWindow(double FromSeconds, double ToSeconds)
{
    /// Trace seconds 20 to 60 of the saturating traces.
    public static ReplayWindow Default => new(20, 60);

    public double Seconds => ToSeconds - FromSeconds;
}
