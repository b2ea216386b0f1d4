// Whole steps and cold adapters on the host with the tiny shape: the bytes are those worked out by hand, and what is
// measured hangs together.
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Cold;
using SLoRA.Bench.Models;
using SLoRA.Bench.Statistics;
using SLoRA.Bench.Steps;
using SLoRA.Engine;

namespace SLoRA.Bench.Tests;

public class StepAndColdTests
{
    private static SLoRAOptions Options()
    {
        var options = new SLoRAOptions { Model = SyntheticModels.Open("tiny", ComputeDtype.Bf16) };
        EngineReplayTests.Configure(options);
        return options;
    }

    [Fact]
    public void Steps_are_measured_beside_the_bytes_that_they_must_read()
    {
        var options = Options();
        var shape = ModelShape.Read(options.Model.Path);
        var ceilings = Ceilings.Measure(shape, options.Native, options.Model.Dtype, [256]);
        Assert.InRange(ceilings.CopyBytesPerSecond, 1e8, 1e13);
        Assert.InRange(ceilings.PrefillOperationsPerSecond, 1e8, 1e14);
        var (engine, info) = EngineLoader.LoadBare(options, null, default);
        using var owned = engine;
        using var bench = new StepBench(engine, shape, info.WeightBytes, sizeof(short), ceilings) { Context = 128, MeasuredSteps = 8 };

        // A layer: q, k, v, o of 128 x 128, gate, up, down of 128 x 352; two layers and the head of 1024 x 128; bf16.
        Assert.InRange(info.WeightBytes, 2 * (2 * (4 * 128 * 128 + 3 * 128 * 352) + 1024 * 128), 1.02 * 2 * (2 * (4 * 128 * 128 + 3 * 128 * 352) + 1024 * 128));

        // KV: K and V of 2 layers, 4 heads of 32. An adapter of rank 8: rows of A and of B of 4 modules in 2 layers.
        const long Kv = 4L * 128 * 2 * 2 * 4 * 32 * 2;
        const long Adapter = 8 * (128 + 128) * 4 * 2 * 2;
        bench.Use("r8", 4);
        var step = bench.Decode("r8", 4);
        Assert.Equal(info.WeightBytes + Kv + 4 * Adapter, step.Bytes);
        Assert.Equal(step.Bytes / ceilings.CopyBytesPerSecond * 1e6, step.FloorMicroseconds, 6);
        Assert.InRange(step.DeviceMicroseconds, 1, 1e6);
        Assert.InRange(step.WallMicroseconds, 1, 1e7);
        Assert.Equal(info.WeightBytes + Kv, bench.Decode("idle", 4).Bytes);
        Assert.Contains("more than the engine's 64 sequences", Assert.Throws<ArgumentException>(() => bench.Decode("base", 65)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Prefill_stands_beside_its_own_matmuls()
    {
        var options = Options();
        var shape = ModelShape.Read(options.Model.Path);
        var ceilings = Ceilings.Measure(shape, options.Native, options.Model.Dtype, [256]);
        var (engine, info) = EngineLoader.LoadBare(options, null, default);
        using var owned = engine;
        using var bench = new StepBench(engine, shape, info.WeightBytes, sizeof(short), ceilings);
        bench.Use("r64", 8);
        var step = bench.Prefill("8 x r64", 256);
        Assert.Equal(ceilings.Matmuls[0].SecondsPerLayer * 2 * 1e6, step.MatmulMicroseconds, 6);
        Assert.InRange(step.ShareOfMatmulRate, 0.001, 3);
        Assert.Equal(2.0 * 256 * (4 * 128 * 128 + 3 * 128 * 352) / ceilings.Matmuls[0].SecondsPerLayer, ceilings.PrefillOperationsPerSecond, 1);
        Assert.Throws<ArgumentException>(() => bench.Use("r9", 1));
    }

    [Fact]
    public async Task Cold_adapters_are_loaded_one_by_one_while_others_decode()
    {
        var options = Options();
        await using var engine = await SLoRAEngine.LoadAsync(options);
        var set = new AdapterSet("cold", 4, [64]);
        await set.LoadAsync(engine.Adapters, null, default);
        var ceilings = new Ceilings(1e10, 1e9, []);
        var reports = new List<PartProgress>();
        var report = await new ColdBench(engine, set, ceilings) { Others = 3, PromptTokens = 16 }.RunAsync(new Recorder(reports), default);
        Assert.Equal([1, 2, 3], reports.Select(report => report.Done));
        Assert.All(reports, report => Assert.Equal(("cold adapters", 3), (report.Part, report.Total)));
        Assert.Equal((3, 3), (report.WarmFirstToken.Count, report.ColdFirstToken.Count));
        Assert.Equal(4, engine.GetStatistics().AdapterLoads);
        Assert.Equal(64 * (128 + 128) * 4 * 2 * 2, report.AdapterBytes);
        Assert.Equal(report.WarmFirstToken.P50 + report.AdapterBytes / 1e9, report.Ideal, 9);
        Assert.InRange(report.OthersPerTokenWarm, 1e-6, 1);
        Assert.InRange(report.OthersPerTokenCold, 1e-6, 1);
        await engine.DrainAsync();
        Assert.Equal((0, 0), (engine.GetStatistics().Running, engine.GetStatistics().KvPages));
    }

    private sealed class Recorder(List<PartProgress> reports) : IProgress<PartProgress>
    {
        public void Report(PartProgress value) => reports.Add(value);
    }

    [Theory]
    [InlineData("llama-7b", 6_476_005_376, 524_288)]
    [InlineData("llama-13b", 12_687_769_600, 819_200)]
    [InlineData("llama3-8b", 6_979_321_856, 131_072)]
    [InlineData("llama-70b", 68_451_041_280, 327_680)]
    public void Shapes_are_the_published_models(string name, long layerParameters, long kvBytesPerToken)
    {
        var shape = ModelShape.Read(SyntheticModels.Open(name, ComputeDtype.Bf16).Path);
        Assert.Equal(layerParameters, shape.LayerParameters * shape.NumLayers);
        Assert.Equal(kvBytesPerToken, shape.KvBytesPerToken(2));
    }

    // The evaluation: a rank-r adapter on q, k, v, o of Llama-7B is 16 r 4096 bytes a layer. Llama-3-8B's k and v have 1,024
    // outputs; gate, up and down of 7B have 11,008.
    [Theory]
    [InlineData("llama-7b", 0xfu, 16 * 4096 * 32)]
    [InlineData("llama3-8b", 0xfu, 2 * 32 * (2 * 8192 + 2 * 5120))]
    [InlineData("llama-7b", 0u, 16 * 4096 * 32 + 2 * 32 * 3 * 15104)]
    public void Adapters_have_the_bytes_of_their_rows(string name, uint modules, long bytes) =>
        Assert.Equal(bytes, ModelShape.Read(SyntheticModels.Open(name, ComputeDtype.Bf16).Path).AdapterBytesPerRank(modules, 2));

    [Fact]
    public void A_shape_that_there_is_not_is_named_with_those_that_there_are()
    {
        var error = Assert.Throws<ArgumentException>(() => SyntheticModels.Open("llama-8b", ComputeDtype.Bf16));
        Assert.Equal("--synthetic is 'llama-8b'; the shapes are llama-1.1b, llama-124m, llama-13b, llama-70b, llama-7b, llama3-8b, tiny", error.Message);
    }
}
