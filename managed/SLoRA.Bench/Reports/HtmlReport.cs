// Replays as one HTML file that needs nothing else: tables, plots as inline SVG, light and dark by the reader's preference.
using System.Globalization;
using System.Net;
using System.Text;
using SLoRA.Bench.Paper;
using SLoRA.Bench.Results;

namespace SLoRA.Bench.Reports;

internal static class HtmlReport
{
    private const string Style = """
        :root { color-scheme: light dark; --page: #ffffff; --panel: #f6f8fa; --text: #1f2328; --soft: #57606a; --line: #d0d7de;
          --series-1: #1f6feb; --series-2: #c4500c; --series-3: #1a7f37; --series-4: #8250df; --series-5: #bf3989; --series-6: #0f7b8a; }
        @media (prefers-color-scheme: dark) { :root { --page: #0d1117; --panel: #161b22; --text: #e6edf3; --soft: #9aa4af; --line: #363d47;
          --series-1: #58a6ff; --series-2: #f0883e; --series-3: #3fb950; --series-4: #bc8cff; --series-5: #f778ba; --series-6: #39c5cf; } }
        * { box-sizing: border-box; }
        body { margin: 0 auto; padding: 24px 16px; max-width: 1240px; background: var(--page); color: var(--text); font: 14px/1.5 system-ui, sans-serif; }
        h1 { font-size: 22px; margin: 0 0 8px; } h2 { font-size: 17px; margin: 28px 0 8px; }
        p { margin: 4px 0; } .soft { color: var(--soft); overflow-wrap: anywhere; }
        .scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
        th, td { padding: 4px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
        th { color: var(--soft); font-weight: 600; } th.text, td.text { text-align: left; }
        .plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); gap: 16px; }
        .plot { margin: 0; padding: 12px 14px; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; }
        .plot figcaption { font-weight: 600; overflow-wrap: anywhere; } .plot svg { display: block; width: 100%; height: auto; }
        .legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 4px 0; padding: 0; list-style: none; color: var(--text); font-size: 13px; }
        .swatch { display: inline-block; width: 12px; height: 12px; margin-right: 6px; border-radius: 2px; vertical-align: -1px; }
        .swatch.dashed { height: 0; vertical-align: 4px; border-radius: 0; }
        svg text { fill: var(--text); font: 11px system-ui, sans-serif; } svg .grid { stroke: var(--line); stroke-width: 1; }
        polyline.mark { fill: none; stroke-width: 2; } polyline.dashed { stroke-dasharray: 6 4; }
        """;

    public static void Write(IReadOnlyList<ReplayReport> reports, string path) => File.WriteAllText(path, Render(reports));

    public static void Write(IReadOnlyList<ReplayReport> reports, IReadOnlyList<PaperCell> cells, string path) => File.WriteAllText(path, Render(reports, cells));

    public static string Render(IReadOnlyList<ReplayReport> reports) => Render(reports, []);

    /// Replays of their own, and cells of tables with those that do not fit.
    public static string Render(IReadOnlyList<ReplayReport> replays, IReadOnlyList<PaperCell> cells)
    {
        ReplayReport[] reports = [.. replays, .. cells.Select(cell => cell.FiledReport()).OfType<ReplayReport>()];
        if (reports.Length == 0)
        {
            throw new ArgumentException("a report needs at least one replay");
        }

        var html = new StringBuilder();
        html.Append($"<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>SLoRA bench</title>\n<style>\n{Style}\n</style>\n</head>\n<body>\n<h1>SLoRA bench</h1>\n");
        AppendEnvironments(html, reports);
        html.Append("<h2>Runs</h2>\n");
        AppendRuns(html, reports);
        AppendUnfit(html, [.. cells.Where(cell => cell.Report is null)]);
        html.Append("<h2>Plots</h2>\n");
        if (ReportPlots.PoolNote(reports) is { } note)
        {
            html.Append($"<p>{Text(note)}</p>\n");
        }

        html.Append("<div class=\"plots\">\n");
        foreach (var plot in ReportPlots.Of(reports))
        {
            html.Append(plot.ToHtml());
        }

        html.Append("</div>\n</body>\n</html>\n");
        return html.ToString();
    }

    private static string Text(string text) => WebUtility.HtmlEncode(text);

    private static void AppendEnvironments(StringBuilder html, ReplayReport[] reports)
    {
        foreach (var where in reports.Select(report => report.Environment).DistinctBy(environment => (environment.Device, environment.Commit, environment.Driver, environment.Command)))
        {
            var driver = where.Driver is null ? string.Empty : $", driver {where.Driver}";
            html.Append($"<p>{Text(where.Device)} {Text(where.Features)}{Text(driver)}; SLoRA {Text(where.Version)}, commit {Text(where.Commit)}, {Text(where.NativeBuild)}, {Text(where.Runtime)}; {Text(where.StartedAt)}</p>\n<p class=\"soft\"><code>{Text(where.Command)}</code></p>\n");
        }

        foreach (var measured in reports.Select(report => report.Ceilings).Where(ceilings => ceilings is not null).DistinctBy(ceilings => ceilings!.CopyBytesPerSecond))
        {
            html.Append(CultureInfo.InvariantCulture, $"<p>Measured here: copy {measured!.CopyBytesPerSecond / 1e9:F1} GB/s, upload {measured.UploadBytesPerSecond / 1e9:F1} GB/s, matmuls {measured.PrefillOperationsPerSecond / 1e12:F2} TFLOP/s.</p>\n");
        }

        foreach (var adapters in reports.Select(report => report.Adapters).OfType<AdapterSummary>().Where(adapters => adapters.Images < adapters.Count).DistinctBy(adapters => (adapters.Set, adapters.Count, adapters.Images)))
        {
            html.Append($"<p>{Text(adapters.Set)}: {adapters.Count} adapters share {adapters.Images} host images; ids, pages, copies and device bytes are their own.</p>\n");
        }
    }

    private static void AppendRuns(StringBuilder html, ReplayReport[] reports)
    {
        html.Append("<div class=\"scroll\"><table>\n<tr><th>run</th><th class=\"text\">model</th><th class=\"text\">adapters</th><th class=\"text\">mode</th><th class=\"text\">trace</th><th>done</th><th>aborted</th><th>stopped</th><th>requests/s</th><th>of bound</th><th>output tokens/s</th><th>in window</th><th>first token p50</th><th>p99</th><th>ms/token</th><th>in time</th><th>loads</th><th>largest decode batch</th></tr>\n");
        for (var i = 0; i < reports.Length; i++)
        {
            AppendRun(html, reports[i], i + 1);
        }

        html.Append("</table></div>\n");
    }

    private static void AppendUnfit(StringBuilder html, PaperCell[] cells)
    {
        if (cells.Length == 0)
        {
            return;
        }

        html.Append("<h2>Does not fit</h2>\n<ul>\n");
        foreach (var cell in cells)
        {
            html.Append(CultureInfo.InvariantCulture, $"<li>{Text(cell.Key.Set)}, {cell.Key.Adapters}, {Text(cell.Key.Mode)}: {Text(cell.Note ?? string.Empty)}</li>\n");
        }

        html.Append("</ul>\n");
    }

    private static void AppendRun(StringBuilder html, ReplayReport report, int run)
    {
        var results = report.Results;
        var adapters = report.Adapters is { } set ? $"{set.Set}, {report.Trace.Adapters}" : $"{report.Trace.Adapters}";
        var share = report.ShareOfBound is { } of ? of.ToString("P1", CultureInfo.InvariantCulture) : "–";
        html.Append(CultureInfo.InvariantCulture, $"<tr><td>{run}</td><td class=\"text\">{Text(report.Model)} {Text(report.Dtype)}</td><td class=\"text\">{Text(adapters)}</td><td class=\"text\">{Text(report.Mode)}</td><td class=\"text\">{Text(report.Trace.Name)}</td>");
        html.Append(CultureInfo.InvariantCulture, $"<td>{results.Completed}</td><td>{results.Aborted}</td><td>{results.Stopped}</td><td>{Rates.Of(report):F2}</td><td>{share}</td><td>{results.OutputTokensPerSecond:F0}</td><td>{results.Window.OutputTokens}</td>");
        html.Append(CultureInfo.InvariantCulture, $"<td>{results.FirstToken.P50:F2} s</td><td>{results.FirstToken.P99:F2} s</td><td>{results.TimePerToken.Mean * 1000:F2}</td><td>{results.SloAttainment:P1}</td><td>{report.Engine?.AdapterLoads ?? 0}</td><td>{report.Engine?.LargestDecodeBatch ?? 0}</td></tr>\n");
    }
}
