// The cost model against what one H100 did (bench/results), and the counted traffic through the command itself.
using System.Text.Json;
using SLoRA.Cli.Bench.TensorParallel;
using SLoRA.Engine.Tests.Fakes;

namespace SLoRA.Integration.Tests;

public class BenchTpTests
{
    private static string Bench(params string[] parts) => Path.Combine([TestEngine.RepositoryRoot, "bench", .. parts]);

    private static CostModel Model(string shape, int overlapTokens = 0) =>
        new(Card.Read(Bench("cards", "h100-sxm.json")), TpShape.Read(Bench("models", shape)), overlapTokens);

    private static int[] LoraRanks(string set, int rows) => set switch
    {
        "base" => [],
        "mixed" => [.. Enumerable.Range(0, rows).Select(i => 8 << (i % 4))],
        _ => [.. Enumerable.Repeat(int.Parse(set[1..], System.Globalization.CultureInfo.InvariantCulture), rows)],
    };

    [Theory]
    [InlineData("h100-step-f1d9046.json", "llama-7b")]
    [InlineData("h100-step-13b-f1d9046.json", "llama-13b")]
    [InlineData("h100-step-8b-f1d9046.json", "llama3-8b")]
    public void One_card_is_predicted_within_a_tenth_of_what_was_measured(string results, string shape)
    {
        var model = Model(shape);
        using var document = JsonDocument.Parse(File.ReadAllBytes(Bench("results", results)));
        var compared = 0;
        foreach (var row in document.RootElement.GetProperty("results").EnumerateArray())
        {
            var set = row.GetProperty("set").GetString()!;
            double predicted;
            if (row.GetProperty("what").GetString() == "decode")
            {
                var rows = row.GetProperty("batch").GetInt32();
                predicted = model.Decode(1, rows, 512, new LoraLoad(LoraSharding.Aligned, LoraRanks(set, rows))).Seconds;
            }
            else if (set == "base")
            {
                predicted = model.Prefill(1, row.GetProperty("tokens").GetInt32(), 1, LoraLoad.None).Seconds;
            }
            else
            {
                continue;
            }

            Assert.InRange(predicted * 1e6 / row.GetProperty("device_us").GetDouble(), 0.9, 1.1);
            compared++;
        }

        Assert.True(compared >= 6);
    }

    [Fact]
    public void Formulas_are_those_of_the_paper()
    {
        // hidden 4096, 32 layers, 32 kv heads; B = 8 tokens, r = 16, N = 4.
        var shape = TpShape.Read(Bench("models", "llama-7b"));
        long Elements(uint modules) => TpTraffic.Lora(shape, 4, LoraSharding.Full, 8, 16, modules).Sum(collective => collective.SentBytes(4)) / 4 / shape.NumLayers;
        Assert.Equal(3 * 3 * 8 * 16 / 4, Elements(TpTraffic.Qkv));
        Assert.Equal(2 * 3 * 8 * 16 / 4, Elements(TpTraffic.O));
        Assert.Empty(TpTraffic.Lora(shape, 4, LoraSharding.Aligned, 8, 16, TpTraffic.All));
        var sums = TpTraffic.Base(shape, 4, TpStep.Prefill(8, 2)).Where(collective => collective.Kind == CollectiveKind.AllReduce).ToList();
        Assert.Equal((2 * 32) + 1, sums.Sum(collective => collective.Calls));
        Assert.Equal(2L * 3 * 8 * 4096 / 4 * 2 * 65, sums.Sum(collective => collective.SentBytes(4)));
        // In chunks: all but the last layer's down are cut, the bytes are the same.
        var cut = TpTraffic.Base(shape, 4, TpStep.Prefill(8, 2), [3, 3, 2]).Where(collective => collective.Kind == CollectiveKind.AllReduce).ToList();
        Assert.Equal((2 * 32 * 3) + 1, cut.Sum(collective => collective.Calls));
        Assert.Equal(2L * 3 * 8 * 4096 / 4 * 2 * 65, cut.Sum(collective => collective.SentBytes(4)));
    }

    [Theory]
    [InlineData(8192, 1024, new[] { 2048, 2048, 2048, 2048 })]
    [InlineData(3072, 1024, new[] { 1024, 1024, 1024 })]
    [InlineData(2100, 1024, new[] { 1088, 1012 })]
    [InlineData(2047, 1024, new[] { 2047 })]
    [InlineData(5, 1, new[] { 2, 2, 1 })]
    [InlineData(8192, 0, new[] { 8192 })]
    public void Sums_are_cut_as_the_engine_cuts_them(int tokens, int least, int[] chunks) => Assert.Equal(chunks, TpOverlap.Chunks(tokens, least));

    [Fact]
    public void All_but_the_first_chunk_of_a_sum_hides_behind_long_matmuls()
    {
        // llama-7b on two cards: 4096 * 2 bytes a token, of which a rank sends as many, at 290 GB/s after 20 us, or 110 GB/s
        // after 6.5. 64 sums of 2,048 tokens show, one whole one, and the logits of 32 rows.
        double Sum(int tokens) => 20e-6 + (tokens * 8192 / 2.9e11);
        var expected = (64 * Sum(2048)) + Sum(8192) + 6.5e-6 + (32 * 16000 * 4 / 1.1e11) + 6.5e-6;
        Assert.Equal(expected, Model("llama-7b", 1024).Prefill(2, 8192, 32, LoraLoad.None).CollectiveSeconds, 1e-6);
        // Too short to be cut.
        expected = (65 * Sum(2047)) + 6.5e-6 + (32 * 16000 * 4 / 1.1e11) + 6.5e-6;
        Assert.Equal(expected, Model("llama-7b", 1024).Prefill(2, 2047, 32, LoraLoad.None).CollectiveSeconds, 1e-6);
    }

    [Fact]
    public void A_slow_link_hides_the_matmuls_and_not_itself()
    {
        // PCIe at 45 GB/s after 19 us: a chunk's sum outlasts its matmul of 3 * 4096 or 2 * 11008 columns over two ranks at
        // 550 TFLOP/s, so all four sums and the last chunk's matmul are seen, and the other three matmuls are not.
        var model = new CostModel(Card.Read(Bench("cards", "h100-pcie.json")), TpShape.Read(Bench("models", "llama-7b")), 1024);
        double Sum(int tokens) => 19e-6 + (tokens * 8192 / 4.5e10);
        double Matmul(int columns) => 2.0 * 2048 * 4096 * columns / 2 / 5.5e14;
        var expected = (32 * ((4 * Sum(2048)) - (3 * Matmul(3 * 4096)))) + (32 * ((4 * Sum(2048)) - (3 * Matmul(2 * 11008)))) + Sum(8192);
        var small = 19e-6 + (32 * 16000 * 4 / 4.5e10) + 19e-6;
        Assert.True(Sum(2048) > Matmul(2 * 11008));
        Assert.Equal(expected + small, model.Prefill(2, 8192, 32, LoraLoad.None).CollectiveSeconds, 1e-6);
    }

    [Fact]
    public void More_cards_are_faster_and_lora_costs_more_than_none()
    {
        var model = Model("llama-70b");
        var base8 = model.Decode(8, 32, 512, LoraLoad.None);
        var aligned = model.Decode(8, 32, 512, LoraLoad.Mixed(LoraSharding.Aligned, 32));
        var full = model.Decode(8, 32, 512, LoraLoad.Mixed(LoraSharding.Full, 32));
        Assert.True(base8.Seconds < model.Decode(4, 32, 512, LoraLoad.None).Seconds);
        Assert.True(base8.Seconds < aligned.Seconds);
        // Full reads less of each adapter and exchanges more.
        Assert.True(full.ComputeSeconds < aligned.ComputeSeconds);
        Assert.True(full.CollectiveSeconds > aligned.CollectiveSeconds);
        Assert.Equal(0, model.Decode(1, 32, 512, LoraLoad.None).CollectiveSeconds);
        Assert.False(model.Fits(1, 512));
        Assert.True(model.Fits(4, 512));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public void Counted_traffic_is_that_of_the_formulas(int ranks)
    {
        Assert.SkipUnless(File.Exists(TestHost.NativeLibrary), $"the native library is not built: {TestHost.NativeLibrary}");
        Environment.SetEnvironmentVariable("SLORA_NATIVE_LIBRARY", TestHost.NativeLibrary);
        var rows = TpMeasurement.Run(TestEngine.DemoModel, ranks, tokens: 5, loraRank: 6, activationBytes: 4, ComputeBackend.Host).ToList();
        Assert.Equal(7, rows.Count);
        Assert.All(rows, row => Assert.Equal((row.ExpectedCollectives, row.ExpectedSentBytes), (row.Collectives, row.SentBytes)));
        Assert.Equal([2, 2, 3, 3, 3, 3, 6], rows.Select(row => row.PerLayer));
    }

    [Theory]
    [InlineData("{", "Expected")]
    [InlineData("""{"name":"x"}""", "missing required properties")]
    [InlineData("""{"name":"x","colour":1}""", "colour")]
    public void A_card_that_is_wrong_is_refused_by_name(string json, string reason)
    {
        var path = Path.Combine(Path.GetTempPath(), $"slora-card-{Guid.NewGuid():N}.json");
        File.WriteAllText(path, json);
        var error = Assert.Throws<ArgumentException>(() => Card.Read(path));
        Assert.StartsWith(path, error.Message, StringComparison.Ordinal);
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        File.Delete(path);
    }
}
