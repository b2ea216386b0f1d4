// Requests a second that the paper printed (A100 80 GB, 10 requests/s for 120 s). Only their shape may be compared with
// another card's: the S1 and S2 rows at 5 adapters are bound by arrivals.
namespace SLoRA.Bench.Reports;

internal static class PublishedCurve
{
    private static readonly Dictionary<string, (int Adapters, double RequestsPerSecond)[]> s_curves = new()
    {
        ["S1"] = [(5, 8.05), (100, 7.99), (1000, 7.64), (2000, 7.61)],
        ["S2"] = [(5, 7.48), (100, 7.29), (1000, 6.69), (2000, 6.71)],
        ["S4"] = [(2, 4.49), (100, 4.28), (1000, 3.96)],
    };

    /// The curve of a set over its first point, which is 1; empty for a set that the paper does not have.
    public static IReadOnlyList<(int Adapters, double Relative)> Of(string set) =>
        s_curves.TryGetValue(set, out var curve) ? [.. curve.Select(point => (point.Adapters, point.RequestsPerSecond / curve[0].RequestsPerSecond))] : [];

    /// The published figure over the set's first one, or null.
    public static double? At(string set, int adapters) =>
        Of(set) is { Count: > 0 } curve && curve.Any(point => point.Adapters == adapters) ? curve.First(point => point.Adapters == adapters).Relative : null;
}
