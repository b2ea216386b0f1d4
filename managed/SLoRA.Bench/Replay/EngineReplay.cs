// A whole in-process measurement: engine, adapters, replay, report.
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Models;
using SLoRA.Bench.Results;
using SLoRA.Bench.Traces;

namespace SLoRA.Bench.Replay;

internal sealed class EngineReplay(SLoRAEngine engine, Trace trace, ReplayOptions options)
{
    public string Mode { get; init; } = "default";

    /// The adapters of the engine, if they are synthetic.
    public AdapterSet? Set { get; init; }

    public double AdapterLoadSeconds { get; init; }

    /// The name of adapter index i; null: AdapterSet.NameOf.
    public Func<int, string?>? AdapterName { get; init; }

    /// For the bound; null: none is worked out.
    public Ceilings? Ceilings { get; init; }

    public ModelShape? Shape { get; init; }

    public async Task<ReplayReport> RunAsync(IProgress<ReplayProgress>? progress, CancellationToken ct)
    {
        trace.RequireContext(engine.Info.Limits.MaxContextTokens);
        var sized = options with { VocabularySize = engine.Info.Limits.VocabularySize };
        var environment = BenchEnvironment.Read(engine.Info.Backend, engine.Info.NativeBuild);

        // First: it refuses a request that no pool of this size can serve.
        var bound = Bound();
        var steps = new StepRecorder();
        var before = engine.GetStatistics();
        var replayer = new Replayer(trace, sized, AdapterName ?? AdapterSet.NameOf);
        engine.Loop.Probe = steps;
        try
        {
            await replayer.RunAsync(new EngineTarget(engine), progress, ct).ConfigureAwait(false);
        }
        finally
        {
            engine.Loop.Probe = null;
        }

        var after = engine.GetStatistics();
        return new ReplayReport
        {
            Environment = environment,
            Model = engine.Info.ModelName,
            Dtype = engine.Info.ComputeDtype,
            Target = "engine",
            Mode = Mode,
            Trace = ReplaySummaries.Of(trace),
            Adapters = SummaryOfAdapters(after),
            Results = ReplaySummaries.Of(replayer, sized),
            Engine = ReplaySummaries.Of(steps, before, after, engine.Info, replayer.Requests.Count(request => request is { Adapter: not null, FirstTokenAt: > 0 }), replayer.WallSeconds),
            Ceilings = Ceilings,
            Bound = bound,
            Series = ReplaySummaries.SeriesOf(steps, replayer.Run, replayer.WallSeconds),
        };
    }

    private BoundSummary? Bound()
    {
        if (Ceilings is null || Shape is null)
        {
            return null;
        }

        var elementBytes = engine.Info.ComputeDtype == "f32" ? sizeof(float) : sizeof(short);
        var sizes = new Dictionary<int, AdapterSize>();
        var machine = new BoundMachine
        {
            BytesPerSecond = Ceilings.CopyBytesPerSecond,
            OperationsPerSecond = Ceilings.PrefillOperationsPerSecond,
            WeightBytes = engine.Info.WeightBytes,
            KvBytesPerToken = Shape.KvBytesPerToken(elementBytes),
            PrefillOperationsPerToken = Shape.PrefillOperations,
            TotalPages = engine.Info.TotalPages,
            TokensPerPage = engine.Info.TokensPerPage,
            AdapterSize = index => sizes.TryGetValue(index, out var size) ? size : sizes[index] = SizeOf(index),
        };
        return new BoundSimulation(machine, trace, options.Window).Run();
    }

    private AdapterSize SizeOf(int index)
    {
        var name = (AdapterName ?? AdapterSet.NameOf)(index);
        return name is not null && engine.Adapters.Find(name) is { } adapter ? new AdapterSize(adapter.Bytes, adapter.Pages) : default;
    }

    private AdapterSummary SummaryOfAdapters(EngineStatistics now) => Set is { } set
        ? new AdapterSummary(set.Name, set.Count, set.LoraRanks, ModuleNames.Of(set.Modules), set.NumImages, now.HostAdapterBytes, AdapterLoadSeconds)
        : new AdapterSummary("files", now.HostAdapters, [], string.Empty, now.HostAdapters, now.HostAdapterBytes, AdapterLoadSeconds);
}
