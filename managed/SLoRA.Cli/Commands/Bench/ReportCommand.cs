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
        OutputFile.Check(html, "--html");
        var replays = new List<ReplayReport>();
        var cells = new List<PaperCell>();
        foreach (var file in files)
        {
            if (PaperTable.TryRead(file) is { } table)
            {
                cells.AddRange(table.Cells);
            }
            else
            {
                replays.Add(BenchFiles.ReadReplay(file));
            }
        }

        HtmlReport.Write(replays, cells, html);
        Console.WriteLine($"{html}: {replays.Count + cells.Count(cell => cell.Report is not null)} runs");
        return 0;
    }
}
