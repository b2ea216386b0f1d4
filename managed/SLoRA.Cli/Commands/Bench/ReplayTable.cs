// A replay's numbers for people.
using System.Globalization;
using SLoRA.Bench.Results;
using SLoRA.Bench.Statistics;
using SLoRA.Cli.Display;
using Spectre.Console;

namespace SLoRA.Cli.Commands.Bench;

internal static class ReplayTable
{
    public static void Print(ReplayReport report)
    {
        var results = report.Results;
        Write($"{report.Model} {report.Dtype} on {report.Environment.Device}, mode {report.Mode}, trace {report.Trace.Name}: {report.Trace.Requests} requests for {report.Trace.DistinctAdapters} adapters");
        if (report.Adapters is { } adapters)
        {
            Write($"{adapters.Count} adapters ({adapters.Set}, {adapters.Modules}), {adapters.Images} different images, {adapters.HostBytes / 1e9:F2} GB in host memory, made in {adapters.LoadSeconds:F1} s");
        }

        Write($"{results.Completed} completed, {results.Aborted} aborted, {results.Stopped} stopped in {results.WallSeconds:F1} s: {results.RequestsPerSecond:F2} requests/s, {results.OutputTokensPerSecond:F0} output tokens/s, {results.TotalTokensPerSecond:F0} tokens/s");
        Write($"window {results.Window.FromSeconds:F0}-{results.Window.ToSeconds:F0} s: {results.Window.OutputTokens} output tokens ({results.Window.OutputTokensPerSecond:F0}/s), {results.Window.Completions} completions ({results.Window.RequestsPerSecond:F2}/s)");
        Write($"first token within {results.SloSeconds:F0} s: {results.SloAttainment:P1} of requests");
        if (report is { Bound: { } bound, Ceilings: { } ceilings })
        {
            Write($"bound {bound.RequestsPerSecond:F2} requests/s, {bound.OutputTokensPerSecond:F0} output tokens/s, window {bound.Window.OutputTokens} tokens and {bound.Window.Completions} completions, largest batch {bound.LargestBatch}: reached {report.ShareOfBound:P1}");
            Write($"measured here: copy {ceilings.CopyBytesPerSecond / 1e9:F1} GB/s, upload {ceilings.UploadBytesPerSecond / 1e9:F1} GB/s, matmuls of {ceilings.Matmuls[0].Tokens} rows {ceilings.PrefillOperationsPerSecond / 1e12:F2} TFLOP/s");
        }

        if (results.FirstError is { } error)
        {
            Write($"first failure: {error}");
        }

        PrintDistributions(report);
        if (report.Engine is { } engine)
        {
            Print(engine);
        }
    }

    private static void Print(EngineSummary engine)
    {
        Write($"steps {engine.Steps}, device busy {engine.DeviceBusy:P1}, largest batch {engine.LargestBatch}, largest decode batch {engine.LargestDecodeBatch}, most adapters in a step {engine.LargestAdaptersInStep}");
        Write($"adapter loads {engine.AdapterLoads} ({engine.AdapterLoadBytes / 1e9:F2} GB; {engine.AdapterWaitedLoads} that rows waited for, {engine.AdapterUnusedLoads} in vain), hit rate {engine.StepHitRate:P2} of (step, adapter) pairs, {engine.RequestHitRate:P1} of requests; evictions {engine.AdapterEvictions}, preemptions {engine.Preemptions}");
        Write($"recorded steps {engine.Recordings} ({engine.StartRecordings} before the start; {engine.RecordingBytes / 1e6:F0} MB, {engine.RecordingSeconds:F1} s), of the steps {engine.ReplayedSteps} ran so");
        Write($"pool {engine.TotalPages} pages of {engine.PageBytes} bytes ({engine.TokensPerPage} tokens)");
    }

    private static void PrintDistributions(ReplayReport report)
    {
        var table = Tables.Create("", "mean", "p50", "p90", "p99", "max");
        Add(table, "first token, s", report.Results.FirstToken, 1);
        Add(table, "time per token, ms", report.Results.TimePerToken, 1000);
        Add(table, "whole request, s", report.Results.Latency, 1);
        Add(table, "sent late, ms", report.Results.SendDelay, 1000);
        if (report.Engine is { } engine)
        {
            Add(table, "step on device, ms", engine.StepMilliseconds, 1);
            Add(table, "decode step, ms", engine.DecodeStepMilliseconds, 1);
        }

        Tables.Print(table);
    }

    private static void Add(Table table, string what, Distribution values, double factor) => table.AddRow(
        [what, .. new[] { values.Mean, values.P50, values.P90, values.P99, values.Max }.Select(value => (value * factor).ToString("F3", CultureInfo.InvariantCulture))]);

    private static void Write(FormattableString text) => Console.Out.WriteLine(FormattableString.Invariant(text));
}
