// What a synthetic trace is made from.
using System.Globalization;

namespace SLoRA.Bench.Traces;

/// `Adapters` equally likely at `Alpha` = 1, low indices more likely below; Poisson arrivals at `Cv` = 1, burstier above.
/// Lengths are uniform in [ShortestTokens, LongestTokens).
internal sealed record TraceSpec(int Adapters, double Rate, double Seconds, double Alpha = 1, double Cv = 1)
{
    public int ShortestTokens { get; init; } = 8;

    public int LongestTokens { get; init; } = 512;

    public uint Seed { get; init; } = 42;

    public string Name => string.Create(CultureInfo.InvariantCulture, $"n{Adapters}-r{Rate}-s{Seconds}-a{Alpha}-cv{Cv}");

    /// The two ends of "8:512". Throws ArgumentException with the value.
    public static (int Shortest, int Longest) ParseLengths(string text)
    {
        var ends = text.Split(':');
        return ends.Length == 2 && int.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out var shortest) && int.TryParse(ends[1], NumberStyles.None, CultureInfo.InvariantCulture, out var longest)
            ? (shortest, longest)
            : throw new ArgumentException($"--lengths is '{text}'; it must be two numbers such as 8:512");
    }

    /// Throws TraceException with the value and the limit.
    public void Validate()
    {
        Require(Adapters is >= 1 and <= 10_000_000, "the number of adapters", Adapters, "in [1, 10000000]");
        Require(Rate is > 0 and <= 1e6, "rate", Rate, "in (0, 1000000]");
        Require(Seconds is > 0 and <= 1e6 && Rate * Seconds >= 1 && Rate * Seconds <= 1e7, "seconds", Seconds, "in (0, 1000000], and rate * seconds in [1, 10000000]");
        Require(Alpha is > 0 and <= 1000, "alpha", Alpha, "in (0, 1000]");
        Require(Cv is > 0 and <= 1000, "cv", Cv, "in (0, 1000]");
        Require(ShortestTokens >= 1, "the shortest length", ShortestTokens, "at least 1");
        Require(LongestTokens > ShortestTokens && LongestTokens <= 1 << 20, "the length's end", LongestTokens, $"above the shortest, {ShortestTokens}, and at most {1 << 20}");
    }

    private static void Require(bool holds, string what, double value, string limit)
    {
        if (!holds)
        {
            throw new TraceException(string.Create(CultureInfo.InvariantCulture, $"{what} is {value}; it must be {limit}"));
        }
    }
}
