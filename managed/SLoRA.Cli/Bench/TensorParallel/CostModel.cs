// How long a step takes on N cards, from what one card does and what the link carries. A decode step reads a rank's weights,
// the K and V of its heads and its part of the adapters, at rates measured on one card; a prefill multiplies. Collectives
// come on top, but for the chunks of a prefill's sums that run beside the matmul that reads them. What such a chunk takes
// from the matmul meanwhile is not counted.
namespace SLoRA.Cli.Bench.TensorParallel;

/// Rows with an adapter each, all different, on q, k, v and o. No lora_ranks: the base alone.
internal sealed record LoraLoad(LoraSharding Sharding, IReadOnlyList<int> LoraRanks)
{
    public static LoraLoad None { get; } = new(LoraSharding.Aligned, []);

    public static LoraLoad Mixed(LoraSharding sharding, int adapters) => new(sharding, [.. Enumerable.Range(0, adapters).Select(i => 8 << (i % 4))]);
}

/// Of the collectives, what compute does not hide.
internal readonly record struct StepTime(double ComputeSeconds, double CollectiveSeconds)
{
    public double Seconds => ComputeSeconds + CollectiveSeconds;

    public double CollectiveShare => CollectiveSeconds / Seconds;
}

internal sealed class CostModel(Card card, TpShape shape, int overlapTokens = 0)
{
    private const int Bf16 = 2;
    private const double Micro = 1e-6;

    /// Weights and the pages that a step needs, of one rank.
    public double RankBytes(int ranks, int tokensHeld) =>
        Bf16 * ((shape.NumLayers * shape.LayerWeights(ranks)) + (2 * shape.HeadWeights(ranks)) + (tokensHeld * shape.KvElementsPerToken(ranks)));

    public bool Fits(int ranks, int tokensHeld) => RankBytes(ranks, tokensHeld) < 0.92 * card.MemoryGib * (1L << 30);

    public StepTime Decode(int ranks, int rows, int context, LoraLoad lora)
    {
        var weights = Bf16 * ((shape.NumLayers * shape.LayerWeights(ranks)) + shape.HeadWeights(ranks));
        var kv = Bf16 * (double)rows * context * shape.KvElementsPerToken(ranks);
        var compute = (weights * AtRows(card.DecodeMatmulRatio, rows) / card.MemoryBytesPerSecond)
            + (kv * card.DecodeAttentionRatio / card.MemoryBytesPerSecond)
            + (shape.NumLayers * card.LayerMicroseconds * Micro);
        if (lora.LoraRanks.Count > 0)
        {
            var bytes = lora.LoraRanks.Sum(rank => AdapterBytes(ranks, rank, lora.Sharding));
            compute += (bytes * AtRows(card.LoraRatio, rows) / card.MemoryBytesPerSecond) + (shape.NumLayers * 2 * card.LoraPairMicroseconds * Micro);
        }

        return new StepTime(compute, Collectives(ranks, new TpStep(rows, rows, Bf16), lora, 1).Sum(collective => Seconds(collective, ranks)));
    }

    /// `tokens` of prompts of equal length in one step.
    public StepTime Prefill(int ranks, int tokens, int prompts, LoraLoad lora)
    {
        var matmuls = 2.0 * tokens * shape.NumLayers * shape.LayerWeights(ranks) / card.MatmulFlops;
        var attention = 2.0 * tokens * tokens / prompts * shape.NumLayers * (shape.NumHeads / (double)ranks) * shape.HeadSize / card.AttentionFlops;
        // Norms and residuals are every rank's own; rotation and activation are cut.
        var elementwise = card.ElementwiseBytes * tokens * shape.NumLayers * shape.HiddenSize / card.MemoryBytesPerSecond * (0.5 + (0.5 / ranks));
        var compute = matmuls + attention + elementwise;
        if (lora.LoraRanks.Count > 0)
        {
            var meanRank = lora.LoraRanks.Average();
            compute += 2.0 * tokens * AdapterBytes(ranks, 1, lora.Sharding) / Bf16 * meanRank / card.LoraFlops;
        }

        var collectives = Collectives(ranks, new TpStep(tokens, prompts, Bf16), lora, tokens / Math.Max(1.0, lora.LoraRanks.Count)).Sum(collective => Seconds(collective, ranks));
        return new StepTime(compute, ranks == 1 ? 0 : collectives - HiddenSeconds(ranks, tokens));
    }

    // Of the sums of a prefill. Those of the embedding and of down are read by q, k and v, those of o by gate and up; nothing
    // reads the last layer's down in chunks.
    private double HiddenSeconds(int ranks, int tokens)
    {
        var whole = SumSeconds(tokens, ranks);
        double Hidden(double weights) => whole - ExposedSeconds(tokens, ranks, 2.0 * tokens * weights / card.MatmulFlops);
        return shape.NumLayers * (Hidden(shape.QkvWeights(ranks)) + Hidden(shape.GateUpWeights(ranks)));
    }

    // By how much a sum makes the matmul that reads it later: a chunk is multiplied once it is summed and the one before is
    // multiplied.
    private double ExposedSeconds(int tokens, int ranks, double matmul)
    {
        double summed = 0, multiplied = 0;
        foreach (var chunk in TpOverlap.Chunks(tokens, overlapTokens))
        {
            summed += SumSeconds(chunk, ranks);
            multiplied = Math.Max(multiplied, summed) + (matmul * chunk / tokens);
        }

        return multiplied - matmul;
    }

    private double SumSeconds(int tokens, int ranks) => Seconds(new Collective(CollectiveKind.AllReduce, 1, (long)tokens * shape.HiddenSize * Bf16), ranks);

    // A and B of q, k, v and o of one adapter on one rank, all layers. Aligned: A of the column-parallel three and B of o are
    // whole on every rank; full: everything is cut.
    private double AdapterBytes(int ranks, int loraRank, LoraSharding sharding)
    {
        var q = (double)shape.NumHeads * shape.HeadSize;
        var kv = (double)Math.Max(shape.NumKvHeads, ranks) * shape.HeadSize;
        var whole = sharding == LoraSharding.Full ? ranks : 1.0;
        var elements = (3 * shape.HiddenSize / whole) + ((q + (2 * kv)) / ranks) + (q / ranks) + (shape.HiddenSize / whole);
        return Bf16 * loraRank * shape.NumLayers * elements;
    }

    private static double AtRows(IReadOnlyDictionary<int, double> measured, int rows)
    {
        var points = measured.OrderBy(point => point.Key).ToArray();
        for (var i = 1; i < points.Length; i++)
        {
            var (left, right) = (points[i - 1], points[i]);
            if (rows <= right.Key)
            {
                var along = Math.Clamp((rows - left.Key) / (double)(right.Key - left.Key), 0, 1);
                return left.Value + (along * (right.Value - left.Value));
            }
        }

        return points[^1].Value;
    }

    private List<Collective> Collectives(int ranks, TpStep step, LoraLoad lora, double tokensPerAdapter)
    {
        if (ranks == 1)
        {
            return [];
        }

        var all = TpTraffic.Base(shape, ranks, step);
        if (lora.LoraRanks.Count > 0)
        {
            // One exchange a group of modules serves all adapters of the batch: together they are one of their ranks' sum.
            var rankTokens = (int)Math.Round(lora.LoraRanks.Sum() * tokensPerAdapter);
            all.AddRange(TpTraffic.Lora(shape, ranks, lora.Sharding, 1, rankTokens, TpTraffic.Qkv | TpTraffic.O));
        }

        return all;
    }

    private double Seconds(Collective collective, int ranks) =>
        card.Link.Protocols.Min(protocol => (collective.Calls * Latency(protocol, ranks)) + (collective.SentBytes(ranks) / protocol.BytesPerSecond));

    private static double Latency(LinkProtocol protocol, int ranks) => (protocol.LatencyMicroseconds + (protocol.HopMicroseconds * (ranks - 1))) * Micro;
}
