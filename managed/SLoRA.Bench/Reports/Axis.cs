// Round numbers for an axis, and how they are written.
using System.Globalization;

namespace SLoRA.Bench.Reports;

internal sealed class Axis
{
    private const int WantedSteps = 5;

    private static readonly double[] s_factors = [1, 2, 5, 10];

    private Axis(double end, double step)
    {
        End = end;
        Step = step;
    }

    /// The axis goes from 0 to here, a whole number of steps.
    public double End { get; }

    public double Step { get; }

    public IEnumerable<double> Ticks
    {
        get
        {
            for (var i = 0; i * Step <= End * 1.0001; i++)
            {
                yield return i * Step;
            }
        }
    }

    /// An axis that holds 0 to `largest` in steps of 1, 2 or 5 times a power of ten.
    public static Axis For(double largest)
    {
        var top = double.IsFinite(largest) && largest > 0 ? largest : 1;
        var rough = top / WantedSteps;
        var power = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        var step = s_factors.Select(factor => factor * power).First(candidate => candidate >= rough * 0.9999);
        return new Axis(Math.Ceiling(top / step - 1e-9) * step, step);
    }

    public static string Format(double value) => Math.Abs(value) switch
    {
        >= 1e9 => (value / 1e9).ToString("0.###", CultureInfo.InvariantCulture) + "G",
        >= 1e6 => (value / 1e6).ToString("0.###", CultureInfo.InvariantCulture) + "M",
        >= 1e4 => (value / 1e3).ToString("0.###", CultureInfo.InvariantCulture) + "k",
        0 => "0",
        < 0.01 => value.ToString("0.####", CultureInfo.InvariantCulture),
        _ => value.ToString("0.###", CultureInfo.InvariantCulture),
    };
}
