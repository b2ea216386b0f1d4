// The comparison table as rows of text.
using System.Globalization;
using SLoRA.Bench.Reports;
using SLoRA.Bench.Results;

namespace SLoRA.Bench.Paper;

internal static class PaperRows
{
    public static IReadOnlyList<string> Columns { get; } =
        ["set", "mode", "adapters", "run", "requests/s", "bound", "of bound", "over n = 5", "paper's", "window tokens/s", "ms/token", "first token p50, s", "aborted", "loads", "in vain", "largest decode batch"];

    public static IEnumerable<string[]> Of(PaperTable table) => table.Cells.Select(cell => Of(cell, table));

    private static string[] Of(PaperCell cell, PaperTable table)
    {
        var key = cell.Key;
        string[] place = [key.Set, key.Mode, F(key.Adapters, 0), F(cell.Run, 0) + (cell.IsControl ? " control" : "")];
        if (cell.Report is not { } report)
        {
            return [.. place, "does not fit", .. Enumerable.Repeat(string.Empty, Columns.Count - place.Length - 1)];
        }

        // Runs may differ by more than the cell does, so only the same run's default cell will do.
        var first = table.Cells.FirstOrDefault(other => other.Run == cell.Run && other.Key == PaperOptions.ControlOf(key))?.Report;
        var published = key.Mode == BenchModes.Default ? PublishedCurve.At(key.Set, key.Adapters) : null;
        return
        [
            .. place,
            F(Rates.Of(report), 2),
            Rates.OfBound(report) is { } bound ? F(bound, 2) : "",
            report.ShareOfBound is { } share ? F(100 * share, 1) + " %" : "",
            first is null ? "" : F(Rates.Ratio(report, first), 3),
            published is { } relative ? F(relative, 3) : "",
            F(report.Results.Window.OutputTokensPerSecond, 0), F(1000 * report.Results.TimePerToken.Mean, 2), F(report.Results.FirstToken.P50, 2),
            F(report.Results.Aborted, 0), F(report.Engine?.AdapterLoads ?? 0, 0), F(report.Engine?.AdapterUnusedLoads ?? 0, 0), F(report.Engine?.LargestDecodeBatch ?? 0, 0),
        ];
    }

    private static string F(double value, int digits) => value.ToString("F" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
}
