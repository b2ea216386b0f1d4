// slora bench tp: what tensor-parallel ranks exchange, counted against the formulas, and what steps should take on several
// cards.
using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using SLoRA.Cli.Bench.TensorParallel;
using SLoRA.Cli.Commands.Bench;
using SLoRA.Cli.Display;
using Spectre.Console;

namespace SLoRA.Cli.Commands;

internal static class BenchTpCommand
{
    public static Command Create()
    {
        var model = new Option<string>("--model") { Description = "Folder whose shape is run over the ranks, with random weights, and counted.", DefaultValueFactory = _ => "bench/models/llama-124m" };
        var ranks = new Option<int[]>("--tp") { Description = "Ranks to count with.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [2, 4] };
        var tokens = new Option<int>("--tokens") { Description = "Tokens of the counted step.", DefaultValueFactory = _ => 16 };
        var loraRank = new Option<int>("--lora-rank") { Description = "lora_rank of the counted adapter.", DefaultValueFactory = _ => 8 };
        var cuda = new Option<bool>("--cuda") { Description = "Count on GPUs, one a rank." };
        var cards = new Option<string>("--cards") { Description = "Folder of cards (JSON) to predict for.", DefaultValueFactory = _ => "bench/cards" };
        var shapes = new Option<string[]>("--shapes") { Description = "Folders of models to predict for.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => ["bench/models/llama-7b", "bench/models/llama-13b", "bench/models/llama-70b"] };
        var predictOnly = new Option<bool>("--predict-only") { Description = "Count nothing." };
        var json = new Option<string?>("--json") { Description = "File for all numbers." };
        var command = new Command("tp", "Counts what tensor-parallel ranks exchange, against the formulas, and predicts steps on several cards.")
        {
            model, ranks, tokens, loraRank, cuda, cards, shapes, predictOnly, json,
        };
        command.SetAction(parsed =>
        {
            OutputFile.Check(parsed.GetValue(json), "--json");
            var activationBytes = parsed.GetValue(cuda) ? 2 : 4;
            var backend = parsed.GetValue(cuda) ? ComputeBackend.Cuda : ComputeBackend.Host;
            List<TrafficRow> traffic = parsed.GetValue(predictOnly)
                ? []
                : [.. parsed.GetValue(ranks)!.SelectMany(size => TpMeasurement.Run(parsed.GetValue(model)!, size, parsed.GetValue(tokens), parsed.GetValue(loraRank), activationBytes, backend))];
            List<PredictionRow> predictions = [.. Cards(parsed.GetValue(cards)!).SelectMany(card => parsed.GetValue(shapes)!.SelectMany(shape => TpPredictions.Run(card, TpShape.Read(shape))))];
            return Report(new TpReport(traffic, predictions), parsed.GetValue(json));
        });
        return command;
    }

    private static IEnumerable<Card> Cards(string folder)
    {
        if (!Directory.Exists(folder))
        {
            throw new DirectoryNotFoundException($"--cards is '{folder}', which is not a folder");
        }

        return Directory.EnumerateFiles(folder, "*.json").Order(StringComparer.Ordinal).Select(Card.Read);
    }

    private static int Report(TpReport report, string? json)
    {
        PrintTraffic(report.Traffic);
        PrintPredictions(report.Predictions);
        if (json is not null)
        {
            File.WriteAllBytes(json, JsonSerializer.SerializeToUtf8Bytes(report, TpJson.Default.TpReport));
        }

        if (report.Traffic.FirstOrDefault(row => !row.IsAsExpected) is not { } wrong)
        {
            return 0;
        }

        Console.Error.WriteLine($"slora: {wrong.Model} over {wrong.Ranks} ranks, {wrong.Set}: {wrong.Collectives} collectives and {wrong.SentBytes} bytes sent, the formulas say {wrong.ExpectedCollectives} and {wrong.ExpectedSentBytes}");
        return 1;
    }

    private static void PrintTraffic(IReadOnlyList<TrafficRow> rows)
    {
        if (rows.Count == 0)
        {
            return;
        }

        var table = Tables.Create("model", "ranks", "set", "tokens", "collectives", "formula", "a layer", "sent bytes a rank", "formula");
        foreach (var row in rows)
        {
            table.AddRow(Markup.Escape(row.Model), Text(row.Ranks), row.Set, Text(row.Tokens), Text(row.Collectives), Text(row.ExpectedCollectives), row.PerLayer.ToString("0.##", CultureInfo.InvariantCulture), Text(row.SentBytes), Text(row.ExpectedSentBytes));
        }

        Tables.Print(table);
    }

    private static void PrintPredictions(IReadOnlyList<PredictionRow> rows)
    {
        var table = Tables.Create("card", "model", "step", "set", "ranks", "fits", "µs", "in collectives", "LoRA loss", "speed-up");
        foreach (var row in rows)
        {
            table.AddRow(Markup.Escape(row.Card), Markup.Escape(row.Model), row.Step, row.Set, Text(row.Ranks), row.Fits ? "yes" : "no", row.Microseconds.ToString("N0", CultureInfo.InvariantCulture), Share(row.CollectiveShare), Share(row.LoraLoss), row.SpeedUp.ToString("0.00", CultureInfo.InvariantCulture));
        }

        Tables.Print(table);
    }

    private static string Text(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    private static string Share(double share) => share.ToString("P1", CultureInfo.InvariantCulture);
}
