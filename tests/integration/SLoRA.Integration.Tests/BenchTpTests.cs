// The cost model against what one H100 did (bench/results), and the counted traffic through the command itself.
using System.Text.Json;
using SLoRA.Cli.Bench.TensorParallel;
using SLoRA.Engine.Tests.Fakes;

namespace SLoRA.Integration.Tests;

public class BenchTpTests
{
    private static string Bench(params string[] parts) => Path.Combine([TestEngine.RepositoryRoot, "bench", .. parts]);

    private static CostModel Model(string shape) => new(Card.Read(Bench("cards", "h100-sxm.json")), TpShape.Read(Bench("models", shape)));

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
        var sums = TpTraffic.Base(shape, 4, TpStep.Prefill(8, 2)).Single(collective => collective.Kind == CollectiveKind.AllReduce);
        Assert.Equal((2 * 32) + 1, sums.Calls);
        Assert.Equal(2L * 3 * 8 * 4096 / 4 * 2 * sums.Calls, sums.SentBytes(4));
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
