// Mean and percentiles of a measured quantity.
namespace SLoRA.Bench.Statistics;

/// All in the unit of the values; zeros if there are none.
internal sealed record Distribution(int Count, double Mean, double P50, double P90, double P99, double Max)
{
    public static Distribution Of(IEnumerable<double> values)
    {
        double[] sorted = [.. values];
        Array.Sort(sorted);
        return sorted.Length == 0
            ? new(0, 0, 0, 0, 0, 0)
            : new(sorted.Length, sorted.Average(), Percentile(sorted, 50), Percentile(sorted, 90), Percentile(sorted, 99), sorted[^1]);
    }

    /// Linear between the two nearest, as numpy.percentile does by default.
    public static double Percentile(ReadOnlySpan<double> sorted, double percent)
    {
        var place = percent / 100 * (sorted.Length - 1);
        var below = (int)place;
        return below + 1 >= sorted.Length ? sorted[^1] : sorted[below] + (place - below) * (sorted[below + 1] - sorted[below]);
    }
}
