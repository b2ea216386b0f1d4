// The formulas: what the ranks of a group exchange in one step. Megatron's split of the base has two sums a layer; the
// aligned split of LoRA adds nothing; the full split (S-LoRA, arXiv 2311.03285, section 6) gathers what each column-parallel
// group of modules has shrunk, 3 (N-1) B r / N elements for q, k and v, and sums that of the row-parallel ones,
// 2 (N-1) B r / N for o. All LoRA intermediates are fp32.
namespace SLoRA.Cli.Bench.TensorParallel;

/// One kind of collective: how often in a step, and the bytes of one rank's operand each time.
internal readonly record struct Collective(CollectiveKind Kind, int Calls, long Bytes)
{
    /// What a rank sends for all calls in a ring of `ranks`.
    public long SentBytes(int ranks) => Calls * (Kind switch
    {
        CollectiveKind.AllReduce => 2L * (ranks - 1) * Bytes / ranks,
        CollectiveKind.AllGather => (ranks - 1L) * Bytes,
        _ => (ranks - 1L) * Bytes / ranks,
    });
}

internal enum CollectiveKind
{
    AllReduce,
    AllGather,
    Broadcast,
}

/// What a step computes: `Outputs` rows of logits, each of which samples a token.
internal readonly record struct TpStep(int Tokens, int Outputs, int ActivationBytes)
{
    public static TpStep Prefill(int tokens, int activationBytes) => new(tokens, 1, activationBytes);
}

internal static class TpTraffic
{
    public const uint Qkv = 0b000_0111;
    public const uint O = 0b000_1000;
    public const uint GateUp = 0b011_0000;
    public const uint Down = 0b100_0000;
    public const uint All = Qkv | O | GateUp | Down;

    private const int Fp32 = 4;

    public static List<Collective> Base(TpShape shape, int ranks, TpStep step) => Base(shape, ranks, step, [step.Tokens]);

    /// The same bytes with the sums cut into chunks of so many tokens.
    public static List<Collective> Base(TpShape shape, int ranks, TpStep step, IReadOnlyList<int> chunks) =>
    [
        // After o and after down of each layer, and the embedding, of which one rank has a token's row; the last down is whole.
        .. chunks.Select(tokens => Sum(shape, step, 2 * shape.NumLayers, tokens)),
        Sum(shape, step, 1, step.Tokens),
        new(CollectiveKind.AllGather, 1, (long)step.Outputs * WidestVocabPart(shape.VocabSize, ranks) * Fp32),
        new(CollectiveKind.Broadcast, 1, (long)step.Outputs * sizeof(int)),
    ];

    /// What LoRA adds; `tokens` of `loraRank` in the modules of the mask.
    public static List<Collective> Lora(TpShape shape, int ranks, LoraSharding sharding, int tokens, int loraRank, uint modules)
    {
        var added = new List<Collective>();
        if (sharding == LoraSharding.Aligned || loraRank == 0)
        {
            return added;
        }

        // Of lora_ranks that the group does not divide, the largest share.
        var share = (loraRank + ranks - 1) / ranks;
        foreach (var group in new[] { Qkv, GateUp })
        {
            if ((modules & group) != 0)
            {
                var count = uint.PopCount(group);
                added.Add(new(CollectiveKind.AllGather, shape.NumLayers, (long)count * tokens * share * Fp32));
            }
        }

        foreach (var group in new[] { O, Down })
        {
            if ((modules & group) != 0)
            {
                added.Add(new(CollectiveKind.AllReduce, shape.NumLayers, (long)tokens * loraRank * Fp32));
            }
        }

        return added;
    }

    private static Collective Sum(TpShape shape, TpStep step, int calls, int tokens) =>
        new(CollectiveKind.AllReduce, calls, (long)tokens * shape.HiddenSize * step.ActivationBytes);

    // The vocabulary is cut in runs of eights where it is a multiple of eight.
    private static int WidestVocabPart(int vocabulary, int ranks)
    {
        var unit = vocabulary % 8 == 0 && vocabulary / 8 >= ranks ? 8 : 1;
        return ((vocabulary / unit) + ranks - 1) / ranks * unit;
    }
}
