// slora bench step: whole decode and prefill steps beside the rates that this machine reaches at best.
using System.CommandLine;
using System.Globalization;
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Models;
using SLoRA.Bench.Results;
using SLoRA.Bench.Steps;
using SLoRA.Cli.Display;
using Spectre.Console;
using SLoRA.Engine;

namespace SLoRA.Cli.Commands.Bench;

internal static class StepCommand
{
    // Ranks of 64 in large batches would not fit a card beside the KV.
    private const int LargestBatchOfLargeRanks = 64;
    private const int PrefillAdapters = 8;

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
        command.SetAction((parsed, _) => Task.Run(() =>
        {
            OutputFile.Check(parsed.GetValue(json), "--json");
            try
            {
                var options = engine.Read(parsed, 1);
                var tokens = parsed.GetValue(prefill) ?? (Ceilings.IsCuda(options.Native) ? "2048,8192" : "256,1024");
                var report = Measure(options, parsed.GetValue(sets)!.Split(','), Batches(parsed.GetValue(batches)!), Numbers(tokens, "--prefill"), parsed.GetValue(context));
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
        }));
        return command;
    }

    private static int[] Batches(string text) =>
        Numbers(text, "--batches") is { Length: > 0 } batches ? batches : throw new ArgumentException($"--batches is '{text}'; it must be numbers of at least 1 such as 1,8,32");

    private static int[] Numbers(string text, string option) =>
        [.. text.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= 1 ? number : throw new ArgumentException($"{option} has '{part}'; it must be numbers of at least 1"))];

    private static StepReport Measure(SLoRAOptions options, string[] sets, int[] batches, int[] prefill, int context)
    {
        _ = sets.Select(StepBench.SetOf).ToArray();
        if (context < 64)
        {
            throw new ArgumentException($"--context is {context}; it must be at least 64");
        }

        var shape = ModelShape.Read(options.Model.Path);
        var ceilings = Ceilings.Measure(shape, options.Native, options.Model.Dtype, prefill.Length > 0 ? prefill : null);
        options.Scheduler.MaxSequences = Math.Max(batches.Max(), PrefillAdapters);
        options.Scheduler.MaxBatchTokens = Math.Max(prefill.DefaultIfEmpty().Max(), Math.Max(2048, context));
        options.Memory.MaxContext = Math.Max(prefill.DefaultIfEmpty().Max(), context) + 64;
        var (engine, info) = EngineLoader.LoadBare(options, null, default);
        using var owned = engine;
        var elementBytes = options.Model.Dtype == ComputeDtype.F32 ? sizeof(float) : sizeof(short);
        using var bench = new StepBench(engine, shape, info.WeightBytes, elementBytes, ceilings) { Context = context };
        return new StepReport
        {
            Environment = BenchEnvironment.Read(info.Backend, info.NativeBuild),
            Model = info.ModelName,
            Dtype = info.ComputeDtype,
            Context = context,
            Ceilings = ceilings,
            Decode = [.. sets.SelectMany(set => MeasureSet(bench, set, batches))],
            Prefill = [.. MeasurePrefill(bench, prefill)],
        };
    }

    private static IEnumerable<DecodeStep> MeasureSet(StepBench bench, string set, int[] batches)
    {
        int[] fitting = set is "r64" or "mixed" ? [.. batches.Where(batch => batch <= LargestBatchOfLargeRanks)] : batches;
        bench.Use(set, fitting.DefaultIfEmpty().Max());
        foreach (var batch in fitting)
        {
            Console.Error.WriteLine($"decode {set}, {batch} rows");
            yield return bench.Decode(set, batch);
        }
    }

    private static IEnumerable<PrefillStep> MeasurePrefill(StepBench bench, int[] prefill)
    {
        bench.Use("base", 0);
        foreach (var tokens in prefill)
        {
            yield return bench.Prefill("base", tokens);
        }

        bench.Use("r64", PrefillAdapters);
        foreach (var tokens in prefill)
        {
            yield return bench.Prefill($"{PrefillAdapters} x r64", tokens);
        }
    }

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
