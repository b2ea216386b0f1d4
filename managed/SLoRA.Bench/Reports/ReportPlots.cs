// Which plots a set of replays gives.
using System.Globalization;
using SLoRA.Bench.Results;
using SLoRA.Bench.Statistics;

namespace SLoRA.Bench.Reports;

internal static class ReportPlots
{
    private const int MostPools = 12;

    public static IEnumerable<Plot> Of(IReadOnlyList<ReplayReport> reports)
    {
        string[] runs = [.. Enumerable.Range(1, reports.Count).Select(run => run.ToString(CultureInfo.InvariantCulture))];
        return
        [
            .. ThroughputPlots(reports),
            .. ModePlots(reports),
            Percentiles("First token", "seconds", runs, [.. reports.Select(report => report.Results.FirstToken)], 1),
            Percentiles("Time per output token", "milliseconds", runs, [.. reports.Select(report => report.Results.TimePerToken)], 1000),
            .. AttainmentPlots(reports),
            .. RatePlots(reports),
            .. Loads(reports, runs),
            .. reports.Select((report, i) => (Report: report, Run: runs[i])).Where(run => HasPool(run.Report)).TakeLast(MostPools).SelectMany(run => Pool(run.Report, run.Run)),
        ];
    }

    /// Says how many pools are not drawn; null where all are.
    public static string? PoolNote(IReadOnlyList<ReplayReport> reports) =>
        reports.Count(HasPool) is > MostPools and var all ? $"Pools and batches over time are drawn for the last {MostPools} of {all} runs." : null;

    private static bool HasPool(ReplayReport report) => report.Series.Count > 1;

    private static string SetOf(ReplayReport report) => report.Adapters?.Set ?? report.Target;

    // One a model, set and rate, stopped runs by their windows apart from whole ones: ours, the bound beside it, and the published shape through our first point.
    private static IEnumerable<Plot> ThroughputPlots(IReadOnlyList<ReplayReport> reports)
    {
        foreach (var group in reports.Where(report => report.Mode == "default").GroupBy(report => (report.Model, Set: SetOf(report), Rate: RateOf(report.Trace), IsByWindow: Rates.IsByWindow(report))))
        {
            var byCount = group.GroupBy(report => report.Trace.Adapters).OrderBy(same => same.Key).ToArray();
            var ours = byCount.Select(same => same.Average(Rates.Of)).ToArray();
            var bound = byCount.Select(same => same.Average(Rates.OfBound) ?? double.NaN).ToArray();
            var series = new List<PlotSeries> { new("measured", ours) };
            if (bound.Any(double.IsFinite))
            {
                series.Add(new PlotSeries("bound of this card", bound));
            }

            if (Published(group.Key.Set, [.. byCount.Select(same => same.Key)], ours) is { } published)
            {
                series.Add(new PlotSeries("the paper's shape, through the first common point", published, IsDashed: true));
            }

            yield return new Plot(
                string.Create(CultureInfo.InvariantCulture, $"Throughput {(group.Key.IsByWindow ? "in the window " : "")}by number of adapters: {group.Key.Model}, {group.Key.Set}, {group.Key.Rate} requests/s offered"), PlotKind.Lines, "adapters", "requests a second", [.. byCount.Select(same => Axis.Format(same.Key))], series);
        }
    }

    private static double[]? Published(string set, int[] counts, double[] ours)
    {
        var first = Array.FindIndex(counts, count => PublishedCurve.At(set, count) is not null);
        return first < 0 ? null : [.. counts.Select(count => PublishedCurve.At(set, count) is { } relative ? ours[first] * relative / PublishedCurve.At(set, counts[first])!.Value : double.NaN)];
    }

    // One a model, rate and window.
    private static IEnumerable<Plot> ModePlots(IReadOnlyList<ReplayReport> reports)
    {
        foreach (var group in reports.Where(report => report.Results.Window.OutputTokens > 0).GroupBy(report => (report.Model, Rate: RateOf(report.Trace), report.Results.Window.FromSeconds, report.Results.Window.ToSeconds)))
        {
            string[] modes = [.. group.Select(report => report.Mode).Distinct()];
            if (modes.Length < 2)
            {
                continue;
            }

            var cells = group.GroupBy(report => (Set: SetOf(report), report.Trace.Adapters)).OrderBy(cell => cell.Key.Set, StringComparer.Ordinal).ThenBy(cell => cell.Key.Adapters).ToArray();
            yield return new Plot(
                string.Create(CultureInfo.InvariantCulture, $"Modes in trace seconds {group.Key.FromSeconds} to {group.Key.ToSeconds}: {group.Key.Model}, {group.Key.Rate} requests/s offered"),
                PlotKind.Bars,
                "adapter set and number",
                "output tokens a second",
                [.. cells.Select(cell => $"{cell.Key.Set} n={cell.Key.Adapters}")],
                [.. modes.Select(mode => new PlotSeries(mode, [.. cells.Select(cell => MeanOf(cell, mode, report => report.Results.Window.OutputTokensPerSecond))]))]);
        }
    }

    // NaN where the mode has no run.
    private static double MeanOf(IEnumerable<ReplayReport> reports, string mode, Func<ReplayReport, double> value) => reports.Where(report => report.Mode == mode).Select(value).DefaultIfEmpty(double.NaN).Average();

    private static Plot Percentiles(string what, string unit, string[] runs, Distribution[] values, double factor) => new(
        $"{what}: percentiles",
        PlotKind.Bars,
        "run",
        unit,
        runs,
        [
            new("p50", [.. values.Select(value => value.P50 * factor)]),
            new("p90", [.. values.Select(value => value.P90 * factor)]),
            new("p99", [.. values.Select(value => value.P99 * factor)]),
        ]);

    // One a model, set and rate.
    private static IEnumerable<Plot> AttainmentPlots(IReadOnlyList<ReplayReport> reports) =>
        from same in reports.GroupBy(report => (report.Model, Set: SetOf(report), Rate: RateOf(report.Trace), report.Results.SloSeconds))
        let title = string.Create(CultureInfo.InvariantCulture, $"First tokens within {same.Key.SloSeconds} s by number of adapters: {same.Key.Model}, {same.Key.Set}, {same.Key.Rate} requests/s offered")
        select Attainment(title, "adapters", same, report => report.Trace.Adapters);

    // One a model, set and number of adapters of which there are several rates.
    private static IEnumerable<Plot> RatePlots(IReadOnlyList<ReplayReport> reports) =>
        from same in reports.GroupBy(report => (report.Model, Set: SetOf(report), report.Trace.Adapters, report.Results.SloSeconds))
        where same.DistinctBy(report => RateOf(report.Trace)).Count() > 1
        let title = string.Create(CultureInfo.InvariantCulture, $"First tokens within {same.Key.SloSeconds} s by request rate: {same.Key.Model}, {same.Key.Set}, {same.Key.Adapters} adapters")
        select Attainment(title, "requests a second in the trace", same, report => RateOf(report.Trace));

    private static Plot Attainment(string title, string xTitle, IEnumerable<ReplayReport> reports, Func<ReplayReport, double> x)
    {
        var points = reports.GroupBy(x).OrderBy(point => point.Key).ToArray();
        string[] modes = [.. reports.Select(report => report.Mode).Distinct()];
        return new Plot(
            title,
            points.Length > 1 ? PlotKind.Lines : PlotKind.Bars,
            xTitle,
            "share of requests",
            [.. points.Select(point => Axis.Format(point.Key))],
            [.. modes.Select(mode => new PlotSeries(mode, [.. points.Select(point => MeanOf(point, mode, report => report.Results.SloAttainment))]))])
        {
            SmallestTop = 1,
        };
    }

    // To two digits: traces of one rate end at slightly different times.
    private static double RateOf(TraceSummary trace)
    {
        var rate = trace.LastArrival > 0 ? trace.Requests / trace.LastArrival : trace.Requests;
        var digit = Math.Pow(10, Math.Floor(Math.Log10(rate)) - 1);
        return Math.Round(rate / digit) * digit;
    }

    private static IEnumerable<Plot> Loads(IReadOnlyList<ReplayReport> reports, string[] runs)
    {
        if (!reports.Any(report => report.Engine is not null))
        {
            yield break;
        }

        yield return new Plot("Adapter loads", PlotKind.Bars, "run", "loads", runs, [new("loads", [.. reports.Select(report => (double?)report.Engine?.AdapterLoads ?? double.NaN)])]);
        yield return new Plot(
            "Hit rate",
            PlotKind.Bars,
            "run",
            "share",
            runs,
            [
                new("of pairs of a step and an adapter", [.. reports.Select(report => report.Engine?.StepHitRate ?? double.NaN)]),
                new("of requests", [.. reports.Select(report => report.Engine?.RequestHitRate ?? double.NaN)]),
            ])
        {
            SmallestTop = 1,
        };
    }

    private static IEnumerable<Plot> Pool(ReplayReport report, string run)
    {
        var points = report.Series;
        string[] labels = [.. points.Select(point => point.Seconds.ToString("0.#", CultureInfo.InvariantCulture))];
        double[] seconds = [.. points.Select(point => point.Seconds)];
        yield return new Plot(
            $"Run {run}: pool by kind ({report.Trace.Name}, {report.Mode})",
            PlotKind.StackedAreas,
            "seconds",
            "pages",
            labels,
            [
                new("KV", [.. points.Select(point => (double)point.KvPages)]),
                new("adapters", [.. points.Select(point => (double)point.AdapterPages)]),
                new("free", [.. points.Select(point => (double)point.FreePages)]),
            ])
        {
            XValues = seconds,
        };
        yield return new Plot(
            $"Run {run}: batch ({report.Trace.Name}, {report.Mode})",
            PlotKind.Lines,
            "seconds",
            "a step",
            labels,
            [new("rows", [.. points.Select(point => point.Rows)]), new("distinct adapters", [.. points.Select(point => point.Adapters)])])
        {
            XValues = seconds,
        };
    }
}
