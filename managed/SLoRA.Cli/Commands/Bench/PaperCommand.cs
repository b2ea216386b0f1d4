// slora bench paper: the paper's comparison table for a model shape and this card.
using System.CommandLine;
using System.Globalization;
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Models;
using SLoRA.Bench.Paper;
using SLoRA.Bench.Replay;
using SLoRA.Bench.Reports;
using SLoRA.Bench.Results;
using SLoRA.Bench.Traces;
using SLoRA.Cli.Display;
using Spectre.Console;

namespace SLoRA.Cli.Commands.Bench;

internal static class PaperCommand
{
    public static Command Create()
    {
        var engine = new BenchEngineArguments(withSet: false);
        var sets = new Option<string>("--sets") { Description = $"Adapter sets: some of {string.Join(",", AdapterSet.Paper.Keys)}.", DefaultValueFactory = _ => "S1,S2" };
        var counts = new Option<string>("--n") { Description = "Numbers of adapters.", DefaultValueFactory = _ => "1,5,100,1000,2000" };
        var modes = new Option<string>("--modes") { Description = $"Some of {string.Join(",", BenchModes.Names)}.", DefaultValueFactory = _ => BenchModes.Default };
        var rate = new Option<double>("--rate") { Description = "Requests a second; 60 saturates, the paper has 10.", DefaultValueFactory = _ => 60 };
        var seconds = new Option<double>("--seconds") { Description = "Seconds of each trace.", DefaultValueFactory = _ => 60 };
        var lengths = new Option<string>("--lengths") { Description = "Prompt and output lengths, uniform in [first, second).", DefaultValueFactory = _ => "8:512" };
        var window = new Option<bool>("--window") { Description = "Stop every cell when the window ends, the default mode's too." };
        var distinct = new Option<int>("--distinct") { Description = "Different images of a set; 0: all differ.", DefaultValueFactory = _ => 512 };
        var resume = new Option<string>("--resume") { Description = "File of the table: what it has is kept, what it lacks is measured.", DefaultValueFactory = _ => "paper.json" };
        var budget = new Option<double>("--budget-seconds") { Description = "Stop before the cell that would go past this; 0: no limit." };
        var html = new Option<string?>("--html") { Description = "File for the table with plots." };
        var command = new Command("paper", "Measures the paper's comparison table, over as many runs as it takes.") { sets, counts, modes, rate, seconds, lengths, window, distinct, resume, budget, html };
        engine.AddTo(command);
        command.SetAction(async (parsed, ct) =>
        {
            OutputFile.Check(parsed.GetValue(resume), "--resume");
            OutputFile.Check(parsed.GetValue(html), "--html");
            var options = new PaperOptions
            {
                Sets = Split(parsed.GetValue(sets)!),
                Adapters = [.. Split(parsed.GetValue(counts)!).Select(ReadCount)],
                Modes = Split(parsed.GetValue(modes)!),
                Rate = parsed.GetValue(rate),
                Seconds = parsed.GetValue(seconds),
                Lengths = TraceSpec.ParseLengths(parsed.GetValue(lengths)!),
                StopsAll = parsed.GetValue(window),
                Modules = engine.Modules(parsed),
                DistinctImages = parsed.GetValue(distinct),
                BudgetSeconds = parsed.GetValue(budget),
            };
            return await RunAsync(options, () => engine.Read(parsed, options.LongestTokens), parsed.GetValue(resume)!, parsed.GetValue(html), ct).ConfigureAwait(false);
        });
        return command;
    }

    private static string[] Split(string text) => text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    private static int ReadCount(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var count) && count >= 1 ? count : throw new ArgumentException($"--n has '{text}'; it must be numbers of at least 1 such as 1,5,100");

    private static async Task<int> RunAsync(PaperOptions options, Func<SLoRAOptions> engine, string path, string? html, CancellationToken ct)
    {
        try
        {
            var run = new PaperRun(options, engine, path, new Display(options));
            await using (run.ConfigureAwait(false))
            {
                var (table, missing) = await run.RunAsync(ct).ConfigureAwait(false);
                Print(table);
                Console.Error.WriteLine(missing == 0 ? $"{path} is complete" : $"{path} lacks {missing} cells: run the same command again");
                if (html is not null && table.Cells.Any(cell => cell.Report is not null))
                {
                    HtmlReport.Write([], table.Cells, html);
                }

                var (aborted, error) = table.Failures();
                if (aborted > 0)
                {
                    Console.Error.WriteLine($"{path} has {aborted} aborted requests, the first by: {error}");
                }

                return aborted == 0 ? 0 : 1;
            }
        }
        finally
        {
            SyntheticModels.CleanUp();
        }
    }

    private static void Print(PaperTable table)
    {
        var shown = Tables.Create([.. PaperRows.Columns]);
        foreach (var row in PaperRows.Of(table))
        {
            shown.AddRow(row);
        }

        Tables.Print(shown);
    }

    private static string F(double value, int digits) => value.ToString("F" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    private sealed class Display(PaperOptions options) : IPaperDisplay
    {
        public Task LoadAsync(Func<IProgress<LoadProgress>, Task> load) => LoadDisplay.RunAsync(async progress =>
        {
            await load(progress).ConfigureAwait(false);
            return true;
        });

        public Task<ReplayReport> ReplayAsync(PaperKey key, Func<IProgress<ReplayProgress>, Task<ReplayReport>> replay) =>
            ReplayDisplay.RunAsync(options.TraceOf(key), replay);

        public void Show(PaperCell cell)
        {
            var key = cell.Key;
            if (cell.Report is not { } report)
            {
                Console.Error.WriteLine($"{key.Set} n={key.Adapters} {key.Mode}: does not fit: {cell.Note}");
                return;
            }

            var share = report.ShareOfBound is { } of ? $", {F(100 * of, 1)} % of the bound" : "";
            Console.Error.WriteLine($"{key.Set} n={key.Adapters} {key.Mode}: {F(Rates.Of(report), 2)} requests/s{share}, {F(report.Results.Window.OutputTokensPerSecond, 0)} tokens/s in the window{(report.Results.Aborted > 0 ? $", {report.Results.Aborted} aborted" : "")}");
        }
    }
}
