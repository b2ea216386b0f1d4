// slora bench cold: what a cold adapter costs its own first token and its neighbours.
using System.CommandLine;
using System.Globalization;
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Cold;
using SLoRA.Bench.Models;
using SLoRA.Bench.Results;
using SLoRA.Cli.Display;

namespace SLoRA.Cli.Commands.Bench;

internal static class ColdCommand
{
    private const int LongestTokens = 2048;

    public static Command Create()
    {
        var engine = new BenchEngineArguments(withSet: false);
        var rank = new Option<int>("--lora-rank") { Description = "Of the adapters.", DefaultValueFactory = _ => 64 };
        var count = new Option<int>("--count") { Description = "Cold adapters, each used once.", DefaultValueFactory = _ => 20 };
        var others = new Option<int>("--others") { Description = "Base-model sequences that decode beside.", DefaultValueFactory = _ => 8 };
        var prompt = new Option<int>("--prompt-tokens") { Description = "Tokens of a request's prompt.", DefaultValueFactory = _ => 128 };
        var json = new Option<string?>("--json") { Description = "File for the report as JSON." };
        var command = new Command("cold", "Measures first tokens with a cold adapter against a warm one, and the others' time per token meanwhile.") { rank, count, others, prompt, json };
        engine.AddTo(command);
        command.SetAction(async (parsed, ct) =>
        {
            OutputFile.Check(parsed.GetValue(json), "--json");
            var set = new AdapterSet("cold", parsed.GetValue(count) + 1, [parsed.GetValue(rank)], engine.Modules(parsed));
            var report = await RunAsync(() => engine.Read(parsed, LongestTokens), set, parsed.GetValue(others), parsed.GetValue(prompt), ct).ConfigureAwait(false);
            Print(report);
            if (parsed.GetValue(json) is { } path)
            {
                BenchFiles.Write(report, path);
            }

            return 0;
        });
        return command;
    }

    private static async Task<ColdReport> RunAsync(Func<SLoRAOptions> engineOptions, AdapterSet set, int others, int promptTokens, CancellationToken ct)
    {
        Require(set.Count >= 2, "--count", set.Count - 1, "at least 1");
        Require(promptTokens is >= 1 and <= LongestTokens / 2, "--prompt-tokens", promptTokens, $"in [1, {LongestTokens / 2}]");
        set.Validate();
        try
        {
            var options = engineOptions();
            var sequences = options.Scheduler.MaxSequences;
            Require(others >= 0 && others < sequences, "--others", others, $"in [0, {sequences - 1}]: below --max-sequences, {sequences}");
            var ceilings = Ceilings.Measure(ModelShape.Read(options.Model.Path), options.Native, options.Model.Dtype);
            var engine = await LoadDisplay.RunAsync(progress => SLoRAEngine.LoadAsync(options, progress, null, ct)).ConfigureAwait(false);
            await using (engine.ConfigureAwait(false))
            {
                await LoadDisplay.RunAsync(async progress =>
                {
                    await set.LoadAsync(engine.Adapters, progress, ct).ConfigureAwait(false);
                    return true;
                }).ConfigureAwait(false);
                var bench = new ColdBench(engine, set, ceilings) { Others = others, PromptTokens = promptTokens };
                return await PartDisplay.RunAsync(progress => bench.RunAsync(progress, ct)).ConfigureAwait(false);
            }
        }
        finally
        {
            SyntheticModels.CleanUp();
        }
    }

    private static void Require(bool holds, string option, int value, string limit)
    {
        if (!holds)
        {
            throw new ArgumentException($"{option} is {value}; it must be {limit}");
        }
    }

    private static void Print(ColdReport report)
    {
        FormattableString[] lines =
        [
            $"{report.Model} {report.Dtype} on {report.Environment.Device}: lora_rank {report.LoraRank}, {report.AdapterBytes / 1e6:F1} MB, prompt of {report.PromptTokens} tokens, {report.Others} others",
            $"first token, warm: p50 {report.WarmFirstToken.P50 * 1e3:F2} ms, p90 {report.WarmFirstToken.P90 * 1e3:F2} ms",
            $"first token, cold: p50 {report.ColdFirstToken.P50 * 1e3:F2} ms, p90 {report.ColdFirstToken.P90 * 1e3:F2} ms, of {report.ColdFirstToken.Count}",
            $"warm and {report.AdapterBytes / 1e6:F1} MB at {report.Ceilings.UploadBytesPerSecond / 1e9:F1} GB/s: {report.Ideal * 1e3:F2} ms; cold is {report.OverIdeal:F2} times that",
            $"others' time per token: {report.OthersPerTokenWarm * 1e3:F3} ms beside a warm request, {report.OthersPerTokenCold * 1e3:F3} ms beside a cold one: {report.OthersRise * 100:F1} % more",
        ];
        foreach (var line in lines)
        {
            Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));
        }
    }
}
