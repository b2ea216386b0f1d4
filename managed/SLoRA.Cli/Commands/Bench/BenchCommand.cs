// slora bench: replays a trace against an engine in this process or a server, and the commands beside it.
using System.CommandLine;
using System.Diagnostics;
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Models;
using SLoRA.Bench.Replay;
using SLoRA.Bench.Results;
using SLoRA.Bench.Traces;
using SLoRA.Cli.Display;
using Trace = SLoRA.Bench.Traces.Trace;

namespace SLoRA.Cli.Commands.Bench;

internal static class BenchCommand
{
    public static Command Create()
    {
        var engine = new BenchEngineArguments();
        var traces = new TraceArguments();
        var replay = new ReplayArguments();
        var command = new Command("bench", "Replays a trace against an engine in this process, or against a server with --http, and reports what came.")
        {
            PaperCommand.Create(), StepCommand.Create(), ColdCommand.Create(), TraceCommand.Create(), ReportCommand.Create(), BenchTpCommand.Create(),
        };
        engine.AddTo(command);
        traces.AddTo(command);
        replay.AddTo(command);
        command.SetAction((parsed, ct) => RunAsync(parsed, engine, traces, replay, ct));
        return command;
    }

    private static async Task<int> RunAsync(ParseResult parsed, BenchEngineArguments engine, TraceArguments traces, ReplayArguments replay, CancellationToken ct)
    {
        replay.CheckFiles(parsed);
        var trace = traces.Read(parsed);
        var report = replay.Server(parsed) is { } server
            ? await RunAgainstServerAsync(server, trace, replay.Read(parsed), replay.AdapterNames(parsed), ct).ConfigureAwait(false)
            : await RunEngineAsync(parsed, engine, trace, replay, ct).ConfigureAwait(false);
        ReplayTable.Print(report);
        replay.Write(parsed, report);
        return report.Results.Aborted == 0 ? 0 : 1;
    }

    private static async Task<ReplayReport> RunEngineAsync(ParseResult parsed, BenchEngineArguments arguments, Trace trace, ReplayArguments replay, CancellationToken ct)
    {
        try
        {
            var options = arguments.Read(parsed, trace.LongestTokens);
            var set = arguments.Set(parsed, trace);
            var shape = ModelShape.Read(options.Model.Path);
            trace.RequireContext(shape.ContextOf(options.Memory.MaxContext));
            var ceilings = replay.WantsBound(parsed) ? Ceilings.Measure(shape, options.Native, options.Model.Dtype) : null;
            var loading = Stopwatch.StartNew();
            var engine = await LoadDisplay.RunAsync(progress => LoadAsync(options, set, progress, loading, ct)).ConfigureAwait(false);
            loading.Stop();
            await using (engine.ConfigureAwait(false))
            {
                var run = new EngineReplay(engine, trace, replay.Read(parsed)) { Set = set, AdapterLoadSeconds = loading.Elapsed.TotalSeconds, AdapterName = NamesOf(engine, set), Ceilings = ceilings, Shape = shape };
                return await ReplayDisplay.RunAsync(trace, progress => run.RunAsync(progress, ct)).ConfigureAwait(false);
            }
        }
        finally
        {
            SyntheticModels.CleanUp();
        }
    }

    // `loading` is left with the time of the adapters alone.
    private static async Task<SLoRAEngine> LoadAsync(SLoRAOptions options, AdapterSet? set, IProgress<LoadProgress> progress, Stopwatch loading, CancellationToken ct)
    {
        var engine = await SLoRAEngine.LoadAsync(options, progress, null, ct).ConfigureAwait(false);
        try
        {
            if (set is not null)
            {
                loading.Restart();
                await set.LoadAsync(engine.Adapters, progress, ct).ConfigureAwait(false);
            }

            return engine;
        }
        catch
        {
            await engine.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    // Adapters read from files have names of their own: the trace's indices go round over them.
    private static Func<int, string?> NamesOf(SLoRAEngine engine, AdapterSet? set)
    {
        if (set is not null)
        {
            return AdapterSet.NameOf;
        }

        var names = engine.Adapters.Adapters.Select(adapter => adapter.Name).ToArray();
        return index => names.Length == 0 ? null : names[index % names.Length];
    }

    private static async Task<ReplayReport> RunAgainstServerAsync(ServerAddress server, Trace trace, ReplayOptions options, Func<int, string?> adapterName, CancellationToken ct)
    {
        var baseModel = server.BaseModel ?? await HttpTarget.FindBaseModelAsync(server.Url, server.ApiKey, ct).ConfigureAwait(false);
        using var target = new HttpTarget(server.Url, baseModel, server.ApiKey);
        var replayer = new Replayer(trace, options, adapterName);
        await ReplayDisplay.RunAsync(trace, async progress =>
        {
            await replayer.RunAsync(target, progress, ct).ConfigureAwait(false);
            return true;
        }).ConfigureAwait(false);
        return new ReplayReport
        {
            Environment = BenchEnvironment.OfClient(),
            Model = baseModel,
            Dtype = string.Empty,
            Target = server.Url.AbsoluteUri,
            Trace = ReplaySummaries.Of(trace),
            Results = ReplaySummaries.Of(replayer, options),
        };
    }
}
