// Makes a trace as the published evaluation does. The draws come from NumPy's legacy generator in this order: N adapters,
// N prompt lengths, N output lengths, N gaps, with N = int(rate * seconds).
using System.Globalization;

namespace SLoRA.Bench.Traces;

internal static class TraceGenerator
{
    public static Trace Generate(TraceSpec spec)
    {
        spec.Validate();
        var random = new LegacyRandom(spec.Seed);
        var count = (int)(spec.Rate * spec.Seconds);
        var adapters = Draw(count, () => (int)(random.Power(spec.Alpha) * spec.Adapters));
        var prompts = Draw(count, () => random.Integer(spec.ShortestTokens, spec.LongestTokens));
        var outputs = Draw(count, () => random.Integer(spec.ShortestTokens, spec.LongestTokens));
        var gaps = Draw(count, () => random.Gamma(1 / (spec.Cv * spec.Cv), spec.Cv * spec.Cv / spec.Rate));
        var requests = new TraceRequest[count];
        var now = 0.0;
        for (var i = 0; i < count; i++)
        {
            now += gaps[i];
            requests[i] = new TraceRequest(RoundTo4(now), adapters[i], prompts[i], outputs[i]);
        }

        return new Trace(spec.Name, requests) { Population = spec.Adapters };
    }

    private static T[] Draw<T>(int count, Func<T> draw)
    {
        var values = new T[count];
        for (var i = 0; i < count; i++)
        {
            values[i] = draw();
        }

        return values;
    }

    // By way of text: rounds the exact decimal value of the number, as Python does; Math.Round scales it first.
    private static double RoundTo4(double value) => double.Parse(value.ToString("F4", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
}
