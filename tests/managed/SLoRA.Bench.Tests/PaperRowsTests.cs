// The comparison table as text, and tables that were written by earlier versions.
using System.Globalization;
using SLoRA.Bench.Paper;
using SLoRA.Bench.Results;

namespace SLoRA.Bench.Tests;

public class PaperRowsTests
{
    private static readonly PaperKey s_control = new("S2", 5, "default", 60, 60);

    private static PaperCell Cell(int run, PaperKey key, double rate, bool isControl = false, int stopped = 0, double windowRate = 0)
    {
        var report = Samples.Report(key.Set, key.Adapters, key.Mode, key.Rate, rate);
        var window = report.Results.Window with { RequestsPerSecond = windowRate > 0 ? windowRate : rate };
        return new PaperCell(key, run, isControl, report with { Results = report.Results with { Stopped = stopped, Window = window } });
    }

    private static string[] Column(string name, params PaperCell[] cells)
    {
        var place = PaperRows.Columns.ToList().IndexOf(name);
        return [.. PaperRows.Of(new PaperTable { Cells = cells }).Select(row => row[place])];
    }

    [Fact]
    public void Ratios_are_over_the_default_cell_of_the_same_run_and_set()
    {
        PaperCell[] cells =
        [
            Cell(1, s_control, 20),
            Cell(1, s_control with { Adapters = 2000 }, 18),
            Cell(2, s_control, 10, isControl: true),
            Cell(2, s_control with { Adapters = 1000 }, 9),
            Cell(2, s_control with { Mode = "bmm" }, 4),
            Cell(2, s_control with { Set = "S1", Adapters = 100 }, 9),
            Cell(3, s_control with { Adapters = 100 }, 9),
        ];
        Assert.Equal(["1.000", "0.900", "1.000", "0.900", "0.400", "", ""], Column("over n = 5", cells));
    }

    [Fact]
    public void What_is_over_a_stopped_cell_or_is_one_is_taken_by_the_window() =>
        Assert.Equal(["1.000", "0.500"], Column("over n = 5", Cell(1, s_control, 20, windowRate: 30), Cell(1, s_control with { Mode = "bmm" }, 3, stopped: 7, windowRate: 15)));

    [Fact]
    public void The_published_curve_stands_beside_the_default_mode_only()
    {
        var published = (6.71 / 7.48).ToString("F3", CultureInfo.InvariantCulture);
        Assert.Equal([published, "", ""], Column("paper's", [.. new[] { "default", "split", "packed" }.Select(mode => Cell(1, s_control with { Adapters = 2000, Mode = mode }, 20))]));
    }

    [Fact]
    public void Aborted_requests_have_a_column_and_are_counted_over_the_cells()
    {
        var good = Cell(1, s_control, 20);
        var bad = Cell(1, s_control with { Adapters = 100 }, 20);
        bad = bad with { Report = bad.Report! with { Results = bad.Report.Results with { Aborted = 7, FirstError = "too long" } } };
        Assert.Equal(["0", "7"], Column("aborted", good, bad));
        Assert.Equal((7, "too long"), new PaperTable { Cells = [good, bad, bad with { Report = null }] }.Failures());
        Assert.Equal((0, null), new PaperTable { Cells = [good] }.Failures());
    }

    [Fact]
    public void A_cell_that_does_not_fit_is_a_row_of_full_width()
    {
        var row = Assert.Single(PaperRows.Of(new PaperTable { Cells = [new PaperCell(s_control with { Mode = "packed" }, 3, false, null, "too large")] }));
        Assert.Equal(PaperRows.Columns.Count, row.Length);
        Assert.Equal(["S2", "packed", "5", "3", "does not fit", ""], row[..6]);
    }

    public static TheoryData<string> Tables => [.. Directory.GetFiles(Path.Combine(Repository.Root, "bench", "results"), "*-paper-*.json").Select(path => Path.GetFileName(path)!)];

    [Theory]
    [MemberData(nameof(Tables))]
    public void A_committed_table_is_read_shown_and_held_to_what_it_says(string name)
    {
        var path = Path.Combine(Repository.Root, "bench", "results", name);
        var table = PaperTable.Open(path);
        Assert.NotEmpty(table.Cells);
        Assert.All(PaperRows.Of(table), row => Assert.Equal(PaperRows.Columns.Count, row.Length));
        var said = PaperSettings.Of(table.Cells);
        Assert.Equal(("llama-7b", "bf16", "cuda", "q,k,v,o", "20:60"), (said.Model, said.Dtype, said.Backend, said.Modules, said.Window));
        Assert.Same(table, table.For(said with { PoolBytes = 5, MaxSequences = 3 }, path));
        Assert.Contains("was measured with model llama-7b, this run has tiny", Assert.Throws<ArgumentException>(() => table.For(said with { Model = "tiny" }, path)).Message, StringComparison.Ordinal);
    }
}
