// slora bench report: JSON reports of replays and paper tables to one HTML file.
using System.CommandLine;
using SLoRA.Bench.Paper;
using SLoRA.Bench.Reports;
using SLoRA.Bench.Results;

namespace SLoRA.Cli.Commands.Bench;

internal static class ReportCommand
{
    public static Command Create()
    {
        var files = new Argument<string[]>("files") { Description = "JSON files that replays or paper tables were written to.", Arity = ArgumentArity.OneOrMore };
        var html = new Option<string>("--html") { Description = "File to write.", Required = true };
        var command = new Command("report", "Makes one HTML file with tables and plots of measured results.") { files, html };
        command.SetAction(parsed => Run(parsed.GetValue(files)!, parsed.GetValue(html)!));
        return command;
    }

    private static int Run(string[] files, string html)
    {
        var reports = files.SelectMany(file => PaperTable.TryRead(file) is { } table ? table.Cells.Select(cell => cell.Report) : [BenchFiles.ReadReplay(file)]).ToArray();
        HtmlReport.Write(reports, html);
        Console.WriteLine($"{html}: {reports.Length} runs");
        return 0;
    }
}
