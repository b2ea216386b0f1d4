// The cost model over cards, shapes, steps and group sizes.
namespace SLoRA.Cli.Bench.TensorParallel;

internal static class TpPredictions
{
    public const int DecodeContext = 512;
    public const int PrefillTokens = 8192;
    private const int Adapters = 32;

    private static readonly int[] s_rows = [1, 32, 128];
    private static readonly int[] s_ranks = [1, 2, 4, 8];

    public static IEnumerable<PredictionRow> Run(Card card, TpShape shape)
    {
        var model = new CostModel(card, shape, TpOverlap.LeastTokens());
        foreach (var rows in s_rows)
        {
            foreach (var row in Of(card, shape, $"decode {rows}", (ranks, sharding) => model.Decode(ranks, rows, DecodeContext, Load(sharding, Math.Min(rows, Adapters))), ranks => model.Fits(ranks, rows * DecodeContext)))
            {
                yield return row;
            }
        }

        foreach (var row in Of(card, shape, $"prefill {PrefillTokens}", (ranks, sharding) => model.Prefill(ranks, PrefillTokens, Adapters, Load(sharding, Adapters)), ranks => model.Fits(ranks, PrefillTokens)))
        {
            yield return row;
        }
    }

    private static LoraLoad Load(LoraSharding? sharding, int adapters) => sharding is { } some ? LoraLoad.Mixed(some, adapters) : LoraLoad.None;

    private static IEnumerable<PredictionRow> Of(Card card, TpShape shape, string step, Func<int, LoraSharding?, StepTime> time, Func<int, bool> fits)
    {
        foreach (var (set, sharding) in new (string, LoraSharding?)[] { ("base", null), ("aligned", LoraSharding.Aligned), ("full", LoraSharding.Full) })
        {
            var alone = time(1, sharding).Seconds;
            foreach (var ranks in s_ranks)
            {
                var own = time(ranks, sharding);
                yield return new PredictionRow(card.Name, shape.Name, step, set, ranks, fits(ranks), own.Seconds * 1e6, own.CollectiveShare, (own.Seconds / time(ranks, null).Seconds) - 1, alone / own.Seconds);
            }
        }
    }
}
