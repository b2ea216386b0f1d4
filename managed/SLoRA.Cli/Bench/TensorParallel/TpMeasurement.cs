// The counted side: the model's shape over N ranks of this process, one prefill step a set of adapters.
using SLoRA.Engine.Native;

namespace SLoRA.Cli.Bench.TensorParallel;

internal static class TpMeasurement
{
    private static readonly (string Name, uint Modules)[] s_modules = [("q k v", TpTraffic.Qkv), ("o", TpTraffic.O), ("gate up", TpTraffic.GateUp), ("down", TpTraffic.Down), ("all seven", TpTraffic.All)];

    public static IEnumerable<TrafficRow> Run(string modelPath, int ranks, int tokens, int loraRank, int activationBytes, ComputeBackend backend)
    {
        var shape = TpShape.Read(modelPath);
        var step = TpStep.Prefill(tokens, activationBytes);
        var chunks = TpOverlap.Chunks(tokens, TpOverlap.LeastTokens());
        foreach (var (set, sharding, modules) in Sets())
        {
            var rank = modules == 0 ? 0 : loraRank;
            var sample = TrafficProbe.Measure(new TrafficCase(modelPath, ranks, sharding, tokens, rank, modules) { Backend = backend });
            var expected = TpTraffic.Base(shape, ranks, step, chunks);
            expected.AddRange(TpTraffic.Lora(shape, ranks, sharding, tokens, rank, modules));
            yield return new TrafficRow(
                shape.Name,
                ranks,
                set,
                tokens,
                sample.Collectives,
                expected.Sum(collective => (long)collective.Calls),
                PerLayer(sample.Collectives, shape),
                sample.SentBytes,
                expected.Sum(collective => collective.SentBytes(ranks)));
        }
    }

    private static IEnumerable<(string Set, LoraSharding Sharding, uint Modules)> Sets()
    {
        yield return ("base", LoraSharding.Aligned, 0);
        yield return ("aligned, all seven", LoraSharding.Aligned, TpTraffic.All);
        foreach (var (name, modules) in s_modules)
        {
            yield return ($"full, {name}", LoraSharding.Full, modules);
        }
    }

    // The embedding's sum, the logits and the sampled token belong to the step and not to a layer.
    private static double PerLayer(long collectives, TpShape shape) => (collectives - 3) / (double)shape.NumLayers;
}
