// Requests a second as tables, plots and ratios show them. A stopped replay has no drain: its window stands for it, and
// what it is compared with is taken by the window too.
namespace SLoRA.Bench.Results;

internal static class Rates
{
    public static bool IsByWindow(ReplayReport report) => report.Results.Stopped > 0;

    public static double Of(ReplayReport report) => Of(report, IsByWindow(report));

    /// null where no bound was worked out.
    public static double? OfBound(ReplayReport report) =>
        IsByWindow(report) ? report.Bound?.Window.RequestsPerSecond : report.Bound?.RequestsPerSecond;

    /// Both by their windows where one of them was stopped.
    public static double Ratio(ReplayReport report, ReplayReport first)
    {
        var isByWindow = IsByWindow(report) || IsByWindow(first);
        return Of(report, isByWindow) / Of(first, isByWindow);
    }

    private static double Of(ReplayReport report, bool isByWindow) => isByWindow ? report.Results.Window.RequestsPerSecond : report.Results.RequestsPerSecond;
}
