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
            Attainment(reports),
            .. Loads(reports, runs),
            .. reports.Select((report, i) => (Report: report, Run: runs[i])).Where(run => run.Report.Series.Count > 1).TakeLast(MostPools).SelectMany(run => Pool(run.Report, run.Run)),
        ];
    }

    private static string SetOf(ReplayReport report) => report.Adapters?.Set ?? report.Target;

    // One a model, set and rate: ours, the bound beside it, and the published shape through our first point.
    private static IEnumerable<Plot> ThroughputPlots(IReadOnlyList<ReplayReport> reports)
    {
        foreach (var group in reports.Where(report => report.Mode == "default").GroupBy(report => (report.Model, Set: SetOf(report), Rate: RateOf(report.Trace))))
        {
            var byCount = group.GroupBy(report => report.Trace.Adapters).OrderBy(same => same.Key).ToArray();
            var ours = byCount.Select(same => same.Average(report => report.Results.RequestsPerSecond)).ToArray();
            var bound = byCount.Select(same => same.Any(report => report.Bound is not null) ? same.Where(report => report.Bound is not null).Average(report => report.Bound!.RequestsPerSecond) : double.NaN).ToArray();
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
                string.Create(CultureInfo.InvariantCulture, $"Throughput by number of adapters: {group.Key.Model}, {group.Key.Set}, {group.Key.Rate} requests/s offered"), PlotKind.Lines, "adapters", "requests a second", [.. byCount.Select(same => Axis.Format(same.Key))], series);
        }
    }

    private static double[]? Published(string set, int[] counts, double[] ours)
    {
        var first = Array.FindIndex(counts, count => PublishedCurve.At(set, count) is not null);
        return first < 0 ? null : [.. counts.Select(count => PublishedCurve.At(set, count) is { } relative ? ours[first] * relative / PublishedCurve.At(set, counts[first])!.Value : double.NaN)];
    }

    private static IEnumerable<Plot> ModePlots(IReadOnlyList<ReplayReport> reports)
    {
        string[] modes = [.. reports.Select(report => report.Mode).Distinct()];
        var cells = reports.Where(report => report.Results.Window.OutputTokens > 0).GroupBy(report => (Set: SetOf(report), report.Trace.Adapters)).OrderBy(cell => cell.Key.Set, StringComparer.Ordinal).ThenBy(cell => cell.Key.Adapters).ToArray();
        if (modes.Length < 2 || cells.Length == 0)
        {
            yield break;
        }

        var window = reports[0].Results.Window;
        yield return new Plot(
            string.Create(CultureInfo.InvariantCulture, $"Modes in trace seconds {window.FromSeconds} to {window.ToSeconds}"),
            PlotKind.Bars,
            "adapter set and number",
            "output tokens a second",
            [.. cells.Select(cell => $"{cell.Key.Set} n={cell.Key.Adapters}")],
            [.. modes.Select(mode => new PlotSeries(mode, [.. cells.Select(cell => cell.Where(report => report.Mode == mode).Select(report => report.Results.Window.OutputTokensPerSecond).DefaultIfEmpty(double.NaN).Average())]))]);
    }

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

    private static Plot Attainment(IReadOnlyList<ReplayReport> reports)
    {
        var points = reports.Select(report => (Rate: RateOf(report.Trace), report)).OrderBy(point => point.Rate).ToArray();
        double[] rates = [.. points.Select(point => point.Rate).Distinct()];
        string[] modes = [.. reports.Select(report => report.Mode).Distinct()];
        return new Plot(
            string.Create(CultureInfo.InvariantCulture, $"First tokens within {reports[0].Results.SloSeconds} s, by request rate"),
            PlotKind.Lines,
            "requests a second in the trace",
            "share of requests",
            [.. rates.Select(rate => rate.ToString("0.#", CultureInfo.InvariantCulture))],
            [.. modes.Select(mode => new PlotSeries(mode, [.. rates.Select(rate => points.Where(point => point.Rate.Equals(rate) && point.report.Mode == mode).Select(point => point.report.Results.SloAttainment).DefaultIfEmpty(double.NaN).Average())]))])
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
