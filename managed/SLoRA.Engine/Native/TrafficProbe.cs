// What one prefill step of a tensor-parallel model exchanges between its ranks, counted by the library. For `slora bench tp`.
using SLoRA.Interop;
using SLoRA.Interop.Native;

namespace SLoRA.Engine.Native;

internal sealed record TrafficCase(string ModelPath, int Ranks, LoraSharding Sharding, int Tokens, int LoraRank, uint Modules)
{
    public ComputeBackend Backend { get; init; } = ComputeBackend.Host;
}

internal sealed record TrafficSample(long AllReduces, long AllReduceBytes, long AllGathers, long AllGatherBytes, long Broadcasts, long BroadcastBytes, long SentBytes)
{
    public long Collectives => AllReduces + AllGathers + Broadcasts;
}

internal static class TrafficProbe
{
    // Of each rank: one prompt and one adapter.
    private const ulong PoolBytes = 256 << 20;

    /// Loads the model's shape with random weights over the ranks, as threads, and runs one prompt with one adapter (LoraRank 0: none).
    public static TrafficSample Measure(TrafficCase wanted)
    {
        NativeLibraryLoader.Load();
        using var model = NativeModel.Load(new NativeModelLoadOptions
        {
            Path = wanted.ModelPath,
            Backend = (NativeBackend)wanted.Backend,
            Synthetic = true,
            TensorParallelSize = wanted.Ranks,
            LoraSharding = (NativeLoraSharding)wanted.Sharding,
        });
        var sizes = NativeEngineOptions.Create();
        sizes.MaxSequences = 1;
        sizes.MaxContext = (uint)wanted.Tokens + 16;
        sizes.MaxBatchTokens = (uint)wanted.Tokens;
        sizes.PoolBytes = PoolBytes;
        using var engine = NativeEngine.Create(model, in sizes);
        using var adapter = wanted.LoraRank == 0
            ? null
            : NativeAdapter.Load(engine, new NativeAdapterLoadOptions { SyntheticLoraRank = wanted.LoraRank, SyntheticModules = wanted.Modules });
        ReadOnlySpan<NativeAdapterWeight> adapters = adapter is null ? [] : [new NativeAdapterWeight { AdapterId = adapter.Id, Weight = 1 }];
        engine.TryCreateSequence(1, Enumerable.Range(1, wanted.Tokens).ToArray(), adapters, 0, new NativeSampling());
        var before = engine.GetTraffic();
        Step(engine, wanted.Tokens);
        return Difference(engine.GetTraffic(), before);
    }

    private static void Step(NativeEngine engine, int tokens)
    {
        var row = new NativePlanRow { SequenceId = 1, NumTokens = (uint)tokens, Flags = (uint)NativeRowFlags.Sample };
        var buffers = new StepBuffers(engine.Geometry);
        while (engine.Submit([row]) != SubmitStatus.Submitted)
        {
            // The adapter's copy is on its way.
            Thread.Sleep(1);
        }

        engine.Collect(buffers);
    }

    private static TrafficSample Difference(in NativeTraffic after, in NativeTraffic before) => new(
        (long)(after.AllReduces - before.AllReduces),
        (long)(after.AllReduceBytes - before.AllReduceBytes),
        (long)(after.AllGathers - before.AllGathers),
        (long)(after.AllGatherBytes - before.AllGatherBytes),
        (long)(after.Broadcasts - before.Broadcasts),
        (long)(after.BroadcastBytes - before.BroadcastBytes),
        (long)(after.SentBytes - before.SentBytes));
}
