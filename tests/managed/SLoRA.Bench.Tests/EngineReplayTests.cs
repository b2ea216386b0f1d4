// Whole replays on the real native library and a tiny synthetic model; skipped where the library is not built.
using System.Text.Json;
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Models;
using SLoRA.Bench.Replay;
using SLoRA.Bench.Results;
using SLoRA.Bench.Traces;

namespace SLoRA.Bench.Tests;

public class EngineReplayTests
{
    internal static void Configure(SLoRAOptions options)
    {
        var library = Environment.GetEnvironmentVariable("SLORA_NATIVE_LIBRARY") ?? Path.Combine(Repository.Root, "out", "native", "release", "lib", "libslora.so");
        Assert.SkipUnless(File.Exists(library), $"the native library is not built: {library}");
        options.Native.LibraryPath = library;
        options.Native.Backend = ComputeBackend.Host;
        options.Native.NumThreads = 1;
        options.Memory.PoolBytes = 64 << 20;
        options.Memory.MaxContext = 1024;
        options.Scheduler.MaxSequences = 64;
        options.Scheduler.MaxQueue = 100_000;
    }

    private static async Task<SLoRAEngine> LoadAsync(Action<SLoRAOptions>? configure = null)
    {
        var options = new SLoRAOptions { Model = SyntheticModels.Open("tiny", ComputeDtype.Bf16) };
        Configure(options);
        configure?.Invoke(options);
        return await SLoRAEngine.LoadAsync(options);
    }

    private static Trace Small(int adapters, double rate = 200) =>
        TraceGenerator.Generate(new TraceSpec(adapters, rate, 1) { ShortestTokens = 4, LongestTokens = 40 });

    [Fact]
    public async Task Every_request_of_a_trace_is_served_in_full_with_hundreds_of_adapters()
    {
        var set = new AdapterSet("S2", 300, AdapterSet.Paper["S2"], DistinctImages: 64);
        await using var engine = await LoadAsync();
        var reports = new List<LoadProgress>();
        await set.LoadAsync(engine.Adapters, new Recorder(reports), default);
        Assert.Equal((300L, 300L), (reports.Max(report => report.Done), reports[0].Total));
        Assert.Equal(32, engine.Adapters.Find("a1")!.LoraRank);
        Assert.Equal(["q", "k", "v", "o"], engine.Adapters.Find("a1")!.TargetModules);

        var trace = Small(300);
        var report = await new EngineReplay(engine, trace, new ReplayOptions { Window = new ReplayWindow(0, 1000) }) { Set = set }.RunAsync(null, default);
        Assert.Equal((trace.Requests.Count, 0, 0), (report.Results.Completed, report.Results.Aborted, report.Results.Stopped));
        Assert.Equal(trace.OutputTokens, report.Results.Window.OutputTokens);
        Assert.Equal(trace.Requests.Count, report.Results.Window.Completions);
        Assert.Equal(trace.OutputTokens / report.Results.WallSeconds, report.Results.OutputTokensPerSecond, 6);
        Assert.InRange(report.Results.FirstToken.P50, 1e-6, report.Results.Latency.P50);
        Assert.InRange(report.Engine!.AdapterLoads, trace.DistinctAdapters, 10_000);

        // The first request's at least; and each in vain was followed by another one that was read.
        Assert.InRange(report.Engine.AdapterWaitedLoads, 1, report.Engine.AdapterLoads);
        Assert.InRange(report.Engine.AdapterUnusedLoads, 0, report.Engine.AdapterLoads - trace.DistinctAdapters);
        Assert.Equal((300, 64), (report.Adapters!.Count, report.Adapters.Images));
        Assert.InRange(report.Engine.LargestDecodeBatch, 2, 64);
        Assert.NotEmpty(report.Series);
        Assert.All(report.Series, point => Assert.Equal(report.Engine.TotalPages, point.FreePages + point.KvPages + point.AdapterPages));
        await engine.CheckAsync();
    }

    [Fact]
    public async Task A_replay_that_stops_at_its_window_leaves_nothing_behind()
    {
        await using var engine = await LoadAsync();
        var trace = TraceGenerator.Generate(new TraceSpec(3, 300, 3) { ShortestTokens = 100, LongestTokens = 500 });
        var options = new ReplayOptions { Window = new ReplayWindow(0.2, 1), StopAtWindowEnd = true };
        var seen = new List<ReplayProgress>();
        var report = await new EngineReplay(engine, trace, options) { AdapterName = _ => null }.RunAsync(new SynchronousProgress(seen), default);
        Assert.All(seen, progress => Assert.Equal(1, progress.StopSeconds));
        Assert.All(seen, progress => Assert.InRange(progress.Seconds + progress.SecondsLeft!.Value, 0, Math.Max(1, progress.Seconds) + 1e-9));
        Assert.True(report.Results.Stopped > 0, "nothing was stopped");
        Assert.Equal(0, report.Results.Aborted);
        Assert.Equal(1, report.Results.WallSeconds, 3);
        Assert.Equal(report.Results.Sent, report.Results.Completed + report.Results.Stopped);
        Assert.InRange(report.Results.Sent, 1, trace.Requests.Count - 1);
        await engine.DrainAsync();
        Assert.Equal((0, 0), (engine.GetStatistics().Running, engine.GetStatistics().KvPages));
    }

    [Fact]
    public async Task The_report_tells_what_was_recorded_before_the_start_and_how_many_steps_ran_so()
    {
        var options = new SLoRAOptions { Model = SyntheticModels.Open("tiny", ComputeDtype.Bf16) };
        Configure(options);
        options.Scheduler.MaxSequences = 8;
        options.Recording.When = StepRecording.AtStart;
        await using var engine = await SLoRAEngine.LoadAsync(options);
        var report = await new EngineReplay(engine, Small(1, rate: 20), new ReplayOptions()) { AdapterName = _ => null }.RunAsync(null, default);
        Assert.InRange(report.Engine!.StartRecordings, 8, report.Engine.Recordings);
        Assert.InRange(report.Engine.ReplayedSteps, report.Results.Completed, report.Engine.Steps - 1);
        Assert.True(report.Engine.RecordingBytes > 0 && report.Engine.RecordingSeconds > 0, "recordings take memory and time");

        await using var plain = await LoadAsync();
        var without = await new EngineReplay(plain, Small(1, rate: 20), new ReplayOptions()) { AdapterName = _ => null }.RunAsync(null, default);
        Assert.Equal((0, 0, 0L, 0L), (without.Engine!.Recordings, without.Engine.StartRecordings, without.Engine.RecordingBytes, without.Engine.ReplayedSteps));
    }

    [Fact]
    public async Task An_adapter_that_is_not_there_is_an_aborted_request_with_its_reason()
    {
        await using var engine = await LoadAsync();
        var trace = Small(2);
        var report = await new EngineReplay(engine, trace, new ReplayOptions()).RunAsync(null, default);
        Assert.Equal((0, trace.Requests.Count), (report.Results.Completed, report.Results.Aborted));
        Assert.Contains("No adapter named 'a", report.Results.FirstError, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_trace_that_does_not_fit_the_bound_s_pool_is_refused_before_it_is_replayed()
    {
        await using var engine = await LoadAsync(options => options.Memory.PoolBytes /= 128);
        var shape = ModelShape.Read(SyntheticModels.Open("tiny", ComputeDtype.Bf16).Path);
        var tokens = engine.Info.TotalPages * engine.Info.TokensPerPage;
        var trace = new Trace("one", [new TraceRequest(0, -1, 4, 4), new TraceRequest(0.1, -1, tokens, 100)]);
        var seen = new List<ReplayProgress>();
        var run = new EngineReplay(engine, trace, new ReplayOptions()) { Ceilings = new Ceilings(1e10, 1e9, [new MatmulCeiling(256, 1, 1e12)]), Shape = shape };
        var error = await Assert.ThrowsAsync<ArgumentException>(() => run.RunAsync(new SynchronousProgress(seen), default));
        Assert.Equal($"request 1 of the trace, {tokens} + 100 tokens with adapter -1, does not fit a pool of {engine.Info.TotalPages} pages", error.Message);
        Assert.Equal((0, 0L), (seen.Count, engine.GetStatistics().Steps));
    }

    [Fact]
    public async Task A_trace_longer_than_the_context_is_refused_with_value_and_limit()
    {
        await using var engine = await LoadAsync();
        var trace = new Trace("long", [new TraceRequest(0, -1, 1000, 24), new TraceRequest(0, -1, 1000, 25)]);
        var error = await Assert.ThrowsAsync<ArgumentException>(() => new EngineReplay(engine, trace, new ReplayOptions()).RunAsync(null, default));
        Assert.StartsWith("the longest request of trace 'long' has 1025 tokens, prompt and output; the context has 1024", error.Message, StringComparison.Ordinal);
        trace.RequireContext(1025);
    }

    [Fact]
    public async Task The_report_is_json_with_its_schema_and_survives_a_round()
    {
        await using var engine = await LoadAsync();
        var report = await new EngineReplay(engine, Small(1, rate: 20), new ReplayOptions()) { AdapterName = _ => null }.RunAsync(null, default);
        var text = JsonSerializer.Serialize(report, BenchJson.Default.ReplayReport);
        Assert.Contains("\"schema\": \"slora-bench-replay/1\"", text, StringComparison.Ordinal);
        Assert.Contains("\"time_per_token\"", text, StringComparison.Ordinal);
        Assert.Equal(text, JsonSerializer.Serialize(JsonSerializer.Deserialize(text, BenchJson.Default.ReplayReport), BenchJson.Default.ReplayReport));
    }

    [Fact]
    public async Task A_model_without_a_tokenizer_takes_token_ids_and_refuses_text_in_one_line()
    {
        await using var engine = await LoadAsync();
        foreach (var prompt in new[] { Prompt.FromText("hello"), Prompt.FromChat([new PromptMessage("user", "hello")]) })
        {
            var error = await Assert.ThrowsAsync<RequestInvalidException>(() => engine.ValidateAsync(new GenerationRequest { Prompt = prompt }));
            Assert.Equal("the model has no tokenizer; send the prompt as token ids", error.Message);
        }

        var tokens = 0;
        await foreach (var chunk in engine.GenerateAsync(new GenerationRequest { Prompt = Prompt.FromTokens([1, 2, 3]), MaxOutputTokens = 5 }))
        {
            tokens += chunk.TokenIds.Count;
            Assert.Equal(string.Empty, chunk.Text);
        }

        Assert.Equal(5, tokens);
    }

    private sealed class SynchronousProgress(List<ReplayProgress> reports) : IProgress<ReplayProgress>
    {
        public void Report(ReplayProgress value) => reports.Add(value);
    }

    private sealed class Recorder(List<LoadProgress> reports) : IProgress<LoadProgress>
    {
        public void Report(LoadProgress value)
        {
            lock (reports)
            {
                reports.Add(value);
            }
        }
    }
}
