// The bound against cases small enough to be worked out by hand, and against the figures that the evaluation states.
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Replay;
using SLoRA.Bench.Results;
using SLoRA.Bench.Traces;

namespace SLoRA.Bench.Tests;

public class BoundTests
{
    private const double Giga = 1e9;

    // A second for the weights, 0.1 s an adapter, 1 ms a token of KV, 10 ms a prompt token.
    private static BoundMachine Simple(int pages = 1000) => new()
    {
        BytesPerSecond = 1000,
        OperationsPerSecond = 1000,
        WeightBytes = 1000,
        KvBytesPerToken = 1,
        PrefillOperationsPerToken = 10,
        TotalPages = pages,
        TokensPerPage = 10,
        AdapterSize = _ => new AdapterSize(100, 5),
    };

    private static BoundSummary Run(BoundMachine machine, params TraceRequest[] requests) =>
        new BoundSimulation(machine, new Trace("test", requests), new ReplayWindow(0, 1e6)).Run();

    [Fact]
    public void One_request_takes_its_prompt_and_a_step_a_token()
    {
        // Step 1: weights, adapter, 7 prompt tokens. Steps 2, 3: weights, adapter, KV of 8 and 9 tokens (the new one included).
        var bound = Run(Simple(), new TraceRequest(0.5, 0, 7, 3));
        Assert.Equal(0.5 + (1 + 0.1 + 0.07) + (1 + 0.1 + 0.008) + (1 + 0.1 + 0.009), bound.WallSeconds, 9);
        Assert.Equal(1.17, bound.FirstToken.Mean, 9);
        Assert.Equal((1.108 + 1.109) / 2, bound.TimePerToken.Mean, 9);
        Assert.Equal((3, 1), (bound.Window.OutputTokens, bound.Window.Completions));
    }

    [Fact]
    public void Requests_share_weights_and_an_adapter_and_pay_for_another()
    {
        double Wall(int adapter) => Run(Simple(), new TraceRequest(0, 0, 4, 2), new TraceRequest(0, adapter, 4, 2)).WallSeconds;
        Assert.Equal((1 + 0.1 + 0.08) + (1 + 0.1 + 0.01), Wall(0), 9);
        Assert.Equal((1 + 0.2 + 0.08) + (1 + 0.2 + 0.01), Wall(1), 9);
        Assert.Equal((1 + 0.1 + 0.08) + (1 + 0.1 + 0.01), Wall(-1), 9);
    }

    [Fact]
    public void What_would_not_fit_when_grown_waits()
    {
        // 40 tokens each at the end, and an adapter of 5 pages that both use: 13 pages hold both, 10 only one. With 12 the
        // second can begin at step 10: when the first ends it will have grown to 30.
        TraceRequest[] two = [new(0, 0, 20, 21), new(0, 0, 20, 21)];
        Assert.Equal(2, Run(Simple(13), two).LargestBatch);
        Assert.Equal(1, Run(Simple(10), two).LargestBatch);
        Assert.Equal(2, Run(Simple(12), two).LargestBatch);
        Assert.InRange(Run(Simple(12), two).FirstToken.Max, 11 * 1.1, 12.5 * 1.1);
        Assert.Equal(1, Run(Simple(13), [two[0], two[1] with { Adapter = 1 }]).LargestBatch);
        Assert.Contains("does not fit a pool of 8 pages", Assert.Throws<ArgumentException>(() => Run(Simple(8), two)).Message, StringComparison.Ordinal);
    }

    // The evaluation: one H100, a pool of 64 GB, Llama-7B, S2: about 34 requests/s at 5 adapters, 28 at 2,000, 34 for the
    // base model alone; S1 falls by 5 % from 5 to 2,000. Rates: a copy of 3 TB/s, matmuls at 640 TFLOP/s.
    [Theory]
    [InlineData("S2", 5, 34)]
    [InlineData("S2", 2000, 28)]
    [InlineData("S1", 0, 34)]
    public void The_evaluation_s_figures_come_out(string set, int adapters, double requestsPerSecond) =>
        Assert.Equal(requestsPerSecond, Llama7B(set, adapters).RequestsPerSecond, 0.06 * requestsPerSecond);

    [Theory]
    [InlineData("S1", 0.95)]
    [InlineData("S2", 0.83)]
    public void The_evaluation_s_falls_come_out(string set, double fall) =>
        Assert.Equal(fall, Llama7B(set, 2000).RequestsPerSecond / Llama7B(set, 5).RequestsPerSecond, 0.03);

    private static BoundSummary Llama7B(string set, int adapters)
    {
        var ranks = new AdapterSet(set, adapters, AdapterSet.Paper[set]);
        const long PageBytes = 16 * 524_288L;
        var machine = new BoundMachine
        {
            BytesPerSecond = 3000 * Giga,
            OperationsPerSecond = 640_000 * Giga,
            WeightBytes = 13_476_000_000,
            KvBytesPerToken = 524_288,
            PrefillOperationsPerToken = 2 * 6.476e9,
            TotalPages = (int)(64 * Giga / PageBytes),
            TokensPerPage = 16,
            AdapterSize = index => new AdapterSize(ranks.RankOf(index) * 2_097_152L, (int)(ranks.RankOf(index) * 2_097_152L / PageBytes)),
        };
        var trace = NamedTraces.Open($"saturate-n{Math.Max(5, adapters)}-r60");
        trace = adapters > 0 ? trace : trace with { Requests = [.. trace.Requests.Select(request => request with { Adapter = -1 })] };
        return new BoundSimulation(machine, trace, ReplayWindow.Default).Run();
    }
}
