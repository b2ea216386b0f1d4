// The HTML report as text, its axes, and the table of the paper as a file.
using System.Text.Json;
using System.Text.Json.Nodes;
using SLoRA.Bench.Paper;
using SLoRA.Bench.Reports;
using SLoRA.Bench.Results;

namespace SLoRA.Bench.Tests;

public sealed class ReportTests : IDisposable
{
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"slora-report-{Guid.NewGuid():N}.json");

    public void Dispose() => File.Delete(_path);

    [Theory]
    [InlineData(0.9, 1, 0.2)]
    [InlineData(1, 1, 0.2)]
    [InlineData(34, 40, 10)]
    [InlineData(8700, 10000, 2000)]
    [InlineData(0.031, 0.04, 0.01)]
    [InlineData(0, 1, 0.2)]
    [InlineData(double.NaN, 1, 0.2)]
    public void An_axis_ends_on_a_round_number_that_holds_its_values(double largest, double end, double step)
    {
        var axis = Axis.For(largest);
        Assert.Equal((end, step), (Math.Round(axis.End, 9), Math.Round(axis.Step, 9)));
        Assert.InRange(axis.Ticks.Count(), 2, 11);
    }

    [Fact]
    public void The_published_shape_is_the_paper_s()
    {
        Assert.Equal(6.71 / 7.48, PublishedCurve.At("S2", 2000)!.Value, 9);
        Assert.Equal(1, PublishedCurve.At("S1", 5));
        Assert.Null(PublishedCurve.At("S1", 1));
        Assert.Empty(PublishedCurve.Of("8,16"));
    }

    [Fact]
    public void A_report_names_card_driver_commit_and_command_and_escapes_them()
    {
        var html = HtmlReport.Render(Samples.Table());
        foreach (var text in new[] { "NVIDIA H100 80GB HBM3", "driver 580.159.04", "0123456789abcdef", "--modes default,split,bmm,merge &lt;&amp;&gt;", "2000 adapters share 512 host images", "prefers-color-scheme: dark" })
        {
            Assert.Contains(text, html, StringComparison.Ordinal);
        }

        // One file that needs nothing else.
        Assert.DoesNotContain("src=", html, StringComparison.Ordinal);
        Assert.DoesNotContain("href=", html, StringComparison.Ordinal);
        Assert.DoesNotContain("NaN", html, StringComparison.Ordinal);
    }

    [Fact]
    public void The_plots_are_those_that_the_evaluation_asks_for()
    {
        var titles = ReportPlots.Of(Samples.Table()).Select(plot => plot.Title).ToArray();
        foreach (var title in new[] { "Throughput by number of adapters: llama-7b, S1, 60 requests/s offered", "Throughput by number of adapters: llama-7b, S2, 60 requests/s offered", "First token: percentiles", "Time per output token: percentiles", "First tokens within 6 s by number of adapters: llama-7b, S1, 60 requests/s offered", "First tokens within 6 s by number of adapters: llama-7b, S2, 9.9 requests/s offered", "First tokens within 6 s by request rate: llama-7b, S2, 1000 adapters", "Adapter loads", "Hit rate", "Modes in trace seconds 20 to 60: llama-7b, 60 requests/s offered" })
        {
            Assert.Contains(title, titles);
        }

        Assert.Contains(titles, title => title.Contains("pool by kind", StringComparison.Ordinal));
        Assert.All(ReportPlots.Of(Samples.Table()), plot => Assert.All(plot.Series, series => Assert.Equal(plot.XLabels.Count, series.Values.Count)));
    }

    // S2 at rate 60: 32, 30.7, 29.4, 28.1, 26.8, and at n = 1000 also 9.9 at rate 10. The shape goes through n = 5.
    [Fact]
    public void Throughput_has_ours_the_bound_and_the_published_shape()
    {
        var reports = Samples.Table().Where(report => report is { Adapters.Set: "S2", Mode: "default" } && report.Trace.Name.EndsWith("r60", StringComparison.Ordinal)).ToArray();
        var plot = ReportPlots.Of(reports).First();
        Assert.Equal(["1", "5", "100", "1000", "2000"], plot.XLabels);
        Assert.Equal([32, 30.7, 29.4, 28.1, 26.8], plot.Series[0].Values.Select(value => Math.Round(value, 6)));
        Assert.Equal(34 - 2000 * 0.003, plot.Series[1].Values[4], 6);
        Assert.True(double.IsNaN(plot.Series[2].Values[0]));
        Assert.Equal(30.7 * 6.71 / 7.48, plot.Series[2].Values[4], 6);
    }

    // Whole: 20 requests/s with the drain. In the window: 30 of the bound's 32.
    [Fact]
    public void Stopped_runs_are_shown_by_the_window_and_apart_from_whole_ones()
    {
        var whole = Samples.Report("S2", 5, "default", 60, 20);
        var results = whole.Results with { Stopped = 9, Window = whole.Results.Window with { RequestsPerSecond = 30, Completions = 1200 } };
        var stopped = whole with { Results = results, Bound = whole.Bound! with { Window = results.Window with { RequestsPerSecond = 32, Completions = 1280 } } };
        var plots = ReportPlots.Of([whole, stopped]).Take(2).ToArray();
        Assert.Equal(["Throughput by number of adapters: llama-7b, S2, 60 requests/s offered", "Throughput in the window by number of adapters: llama-7b, S2, 60 requests/s offered"], plots.Select(plot => plot.Title));
        Assert.Equal([20, 34 - 5 * 0.003], plots[0].Series.Take(2).Select(series => series.Values[0]));
        Assert.Equal([30, 32.0], plots[1].Series.Take(2).Select(series => series.Values[0]));

        var html = HtmlReport.Render([stopped]);
        Assert.Contains("<td>9</td><td>30.00</td><td>93.8 %</td>", html.Replace("93.8%", "93.8 %", StringComparison.Ordinal), StringComparison.Ordinal);
    }

    [Fact]
    public void Attainment_is_of_one_set_number_and_rate()
    {
        ReplayReport With(string set, int n, double rate, double share) =>
            Samples.Report(set, n, "default", rate, 9) is var report ? report with { Results = report.Results with { SloAttainment = share } } : null!;
        var plots = ReportPlots.Of([With("S1", 5, 60, 0.9), With("S1", 100, 60, 0.5), With("S2", 5, 60, 0.3), With("S1", 5, 10, 1)]).Where(plot => plot.Title.StartsWith("First tokens", StringComparison.Ordinal)).ToArray();
        Assert.Equal([0.9, 0.5], plots[0].Series[0].Values);
        Assert.Equal([0.3], plots[1].Series[0].Values);
        Assert.Equal([1.0], plots[2].Series[0].Values);
        Assert.Equal(["9.9", "60"], plots[3].XLabels);
        Assert.Equal([1, 0.9], plots[3].Series[0].Values);
        Assert.Equal(4, plots.Length);
    }

    [Fact]
    public void Cells_that_do_not_fit_are_listed_and_packed_ones_are_of_their_set()
    {
        var packed = Samples.Report("S2", 5, "packed", 60, 9);
        PaperCell[] cells =
        [
            new(new PaperKey("S2", 5, "default", 60, 60), 1, false, Samples.Report("S2", 5, "default", 60, 31)),
            new(new PaperKey("S2", 5, "packed", 60, 60), 1, false, packed with { Adapters = packed.Adapters! with { Set = "files" } }),
            new(new PaperKey("S2", 100, "packed", 60, 60), 1, false, null, "100 copies <leave> 0 bytes"),
        ];
        var html = HtmlReport.Render([], cells);
        Assert.Contains("<h2>Does not fit</h2>\n<ul>\n<li>S2, 100, packed: 100 copies &lt;leave&gt; 0 bytes</li>", html, StringComparison.Ordinal);
        Assert.DoesNotContain("files", html, StringComparison.Ordinal);
        Assert.Contains("<td class=\"text\">S2, 5</td><td class=\"text\">packed</td>", html, StringComparison.Ordinal);
        Assert.DoesNotContain("Does not fit", HtmlReport.Render([packed]), StringComparison.Ordinal);
    }

    [Fact]
    public void Pools_that_are_not_drawn_are_counted()
    {
        Assert.Contains("drawn for the last 12 of 20 runs", HtmlReport.Render(Samples.Table()), StringComparison.Ordinal);
        Assert.DoesNotContain("drawn for the last", HtmlReport.Render(Samples.Table()[..12]), StringComparison.Ordinal);
    }

    [Fact]
    public void A_table_survives_a_round_and_knows_what_it_has()
    {
        var key = new PaperKey("S2", 100, "default", 60, 60);
        var table = new PaperTable { Cells = [new PaperCell(key, 1, false, Samples.Report("S2", 100, "default", 60, 31)), new PaperCell(key with { Adapters = 5 }, 2, true, Samples.Report("S2", 5, "default", 60, 31))] };
        table = table with { Cells = [.. table.Cells, new PaperCell(key with { Mode = "packed" }, 2, false, null, "too large")] };
        table.Write(_path);
        var read = PaperTable.Open(_path);
        Assert.Equal((null, "too large"), (read.Cells[2].Report, read.Cells[2].Note));
        Assert.True(read.Has(key));
        Assert.False(read.Has(key with { Adapters = 5 }), "a control stands for no cell");
        Assert.False(read.Has(key with { Mode = "split" }));
        Assert.Equal(3, read.NextRun);
        Assert.Equal(31, read.Cells[0].Report!.Results.RequestsPerSecond);
        Assert.Equal(1, new PaperTable().NextRun);
    }

    [Fact]
    public void Files_of_another_kind_are_refused_by_name()
    {
        File.WriteAllText(_path, "{\"schema\": \"other/1\"}");
        Assert.Contains("is no table of schema slora-bench-paper/1", Assert.Throws<ArgumentException>(() => PaperTable.Open(_path)).Message, StringComparison.Ordinal);
        Assert.Contains(_path, Assert.Throws<ArgumentException>(() => BenchFiles.ReadReplay(_path)).Message, StringComparison.Ordinal);
        File.WriteAllText(_path, "{\"schema\": 1}");
        Assert.Null(PaperTable.TryRead(_path));
        Assert.Contains("is no report of a replay", Assert.Throws<ArgumentException>(() => BenchFiles.ReadReplay(_path)).Message, StringComparison.Ordinal);
        File.WriteAllText(_path, "{");
        Assert.Contains("is no JSON of a bench", Assert.Throws<ArgumentException>(() => PaperTable.Open(_path)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("null", "$.cells")]
    [InlineData("[null]", "a cell is null")]
    [InlineData("[{\"run\": 1, \"is_control\": false}]", "'key'")]
    public void Cells_that_lack_what_they_need_are_refused(string cells, string problem)
    {
        File.WriteAllText(_path, $"{{\"schema\": \"slora-bench-paper/1\", \"cells\": {cells}}}");
        var message = Assert.Throws<ArgumentException>(() => PaperTable.Open(_path)).Message;
        Assert.StartsWith($"'{_path}' is no JSON of a bench: ", message, StringComparison.Ordinal);
        Assert.Contains(problem, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void A_report_without_results_is_refused()
    {
        var text = JsonSerializer.Serialize(Samples.Report("S1", 5, "default", 60, 9), BenchJson.Default.ReplayReport);
        var report = JsonNode.Parse(text)!;
        report["results"] = null;
        File.WriteAllText(_path, report.ToJsonString());
        var message = Assert.Throws<ArgumentException>(() => BenchFiles.ReadReplay(_path)).Message;
        Assert.StartsWith($"'{_path}' is no report of a replay: ", message, StringComparison.Ordinal);
        Assert.Contains("$.results", message, StringComparison.Ordinal);
        File.WriteAllText(_path, text);
        Assert.Equal(9, BenchFiles.ReadReplay(_path).Results.RequestsPerSecond);
    }

    [Theory]
    [InlineData(-5, "-5")]
    [InlineData(double.NaN, "NaN")]
    public void A_budget_below_nothing_is_refused(double seconds, string value) =>
        Assert.Equal($"--budget-seconds is {value}; it must be 0 (no limit) or more", Assert.Throws<ArgumentException>(() => new PaperOptions { BudgetSeconds = seconds }.Validate()).Message);

    [Theory]
    [InlineData("S3", "default", 5, "there is no set 'S3'; the sets are S1, S2, S4")]
    [InlineData("S1", "fast", 5, "there is no mode 'fast'; the modes are default, split, bmm, merge, per-adapter, packed")]
    public void A_table_of_what_there_is_not_is_refused(string set, string mode, int adapters, string problem) =>
        Assert.StartsWith(problem, Assert.Throws<ArgumentException>(() => new PaperOptions { Sets = [set], Modes = [mode], Adapters = [adapters] }.Validate()).Message, StringComparison.Ordinal);
}
