// slora bench step: whole decode and prefill steps beside the rates that this machine reaches at best.
using System.CommandLine;
using System.Globalization;
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Models;
using SLoRA.Bench.Results;
using SLoRA.Bench.Steps;
using SLoRA.Cli.Display;
using Spectre.Console;

namespace SLoRA.Cli.Commands.Bench;

internal static class StepCommand
{
    public static Command Create()
    {
        var engine = new BenchEngineArguments(withSet: false);
        var batches = new Option<string>("--batches") { Description = "Rows of decode steps.", DefaultValueFactory = _ => "1,8,32,64,128" };
        var sets = new Option<string>("--sets") { Description = "Adapters: base, idle (loaded, not used), r8, r16, r64, mixed.", DefaultValueFactory = _ => "base,idle,r8,r16,r64,mixed" };
        var context = new Option<int>("--context") { Description = "Tokens of each sequence in decode steps.", DefaultValueFactory = _ => 512 };
        var prefill = new Option<string?>("--prefill") { Description = "Tokens of prefill steps; empty: none. Default: 2048,8192 on a GPU, 256,1024 on the host." };
        var json = new Option<string?>("--json") { Description = "File for the report as JSON." };
        var command = new Command("step", "Measures whole decode and prefill steps, with and without adapters.") { batches, sets, context, prefill, json };
        engine.AddTo(command);
        command.SetAction(async (parsed, ct) =>
        {
            OutputFile.Check(parsed.GetValue(json), "--json");
            try
            {
                var options = engine.Read(parsed, 1);
                var tokens = parsed.GetValue(prefill) ?? (Ceilings.IsCuda(options.Native) ? "2048,8192" : "256,1024");
                var plan = new StepPlan(parsed.GetValue(sets)!.Split(','), Batches(parsed.GetValue(batches)!), Numbers(tokens, "--prefill"), parsed.GetValue(context));
                var report = await PartDisplay.RunAsync(progress => Task.Run(() => new StepMeasurement(plan, progress).Run(options), ct)).ConfigureAwait(false);
                Print(report);
                if (parsed.GetValue(json) is { } path)
                {
                    BenchFiles.Write(report, path);
                }

                return 0;
            }
            finally
            {
                SyntheticModels.CleanUp();
            }
        });
        return command;
    }

    private static int[] Batches(string text) =>
        Numbers(text, "--batches") is { Length: > 0 } batches ? batches : throw new ArgumentException($"--batches is '{text}'; it must be numbers of at least 1 such as 1,8,32");

    private static int[] Numbers(string text, string option) =>
        [.. text.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= 1 ? number : throw new ArgumentException($"{option} has '{part}'; it must be numbers of at least 1"))];

    private static void Print(StepReport report)
    {
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{report.Model} {report.Dtype} on {report.Environment.Device}, context {report.Context}: copy {report.Ceilings.CopyBytesPerSecond / 1e9:F1} GB/s, upload {report.Ceilings.UploadBytesPerSecond / 1e9:F1} GB/s"));
        var decode = Tables.Create("decode", "batch", "device us", "wall us", "MB", "GB/s", "of copy", "over floor", "tokens/s");
        foreach (var step in report.Decode)
        {
            decode.AddRow(
                step.Set, F(step.Batch, 0), F(step.DeviceMicroseconds, 1), F(step.WallMicroseconds, 1), F(step.Bytes / 1e6, 1), F(step.BytesPerSecond / 1e9, 1), F(100 * step.BytesPerSecond / report.Ceilings.CopyBytesPerSecond, 1) + " %", F(step.OverFloor, 3), F(step.TokensPerSecond, 0));
        }

        Tables.Print(decode);
        var prefill = Tables.Create("prefill", "tokens", "device us", "its matmuls us", "of matmul rate", "tokens/s");
        foreach (var step in report.Prefill)
        {
            prefill.AddRow(step.Set, F(step.Tokens, 0), F(step.DeviceMicroseconds, 1), F(step.MatmulMicroseconds, 1), F(100 * step.ShareOfMatmulRate, 1) + " %", F(step.TokensPerSecond, 0));
        }

        Tables.Print(prefill);
    }

    private static string F(double value, int digits) => value.ToString("F" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
}
