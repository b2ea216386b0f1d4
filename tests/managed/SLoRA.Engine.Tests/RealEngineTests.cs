// The engine over the real native library, with the demo model; skipped where the library is not built.
using SLoRA.Engine.Loop;
using SLoRA.Engine.Tests.Fakes;

namespace SLoRA.Engine.Tests;

public class RealEngineTests
{
    private static readonly string s_adapters = Path.Combine(TestEngine.RepositoryRoot, "assets", "demo-model", "adapters");

    private static async Task<SLoRAEngine> LoadAsync(Action<SLoRAOptions>? configure = null)
    {
        var library = Environment.GetEnvironmentVariable("SLORA_NATIVE_LIBRARY") ?? Path.Combine(TestEngine.RepositoryRoot, "out", "native", "release", "lib", "libslora.so");
        Assert.SkipUnless(File.Exists(library), $"the native library is not built: {library}");
        var options = new SLoRAOptions();
        options.Model.Path = TestEngine.DemoModel;
        options.Model.Dtype = ComputeDtype.F32;
        options.Native.LibraryPath = library;
        options.Memory.PoolBytes = 64 << 20;
        options.Native.NumThreads = 1;
        configure?.Invoke(options);
        return await SLoRAEngine.LoadAsync(options);
    }

    private static GenerationRequest Request(string? adapter, int max) => new()
    {
        Prompt = "It was a dark night, and the",
        Adapters = adapter is null ? [] : [adapter],
        MaxOutputTokens = max,
        IgnoreEos = true,
    };

    private static async Task<int[]> TokensAsync(SLoRAEngine engine, GenerationRequest request, CancellationToken ct = default)
    {
        var tokens = new List<int>();
        await foreach (var chunk in engine.GenerateAsync(request, ct))
        {
            tokens.AddRange(chunk.TokenIds);
        }

        return [.. tokens];
    }

    [Fact]
    public async Task A_steady_decode_step_allocates_nothing_on_the_loop_s_thread()
    {
        await using var engine = await LoadAsync(options => options.Adapters.Directories.Add(s_adapters));
        var probe = new StepProbe(1000);
        engine.Loop.Probe = probe;
        var names = new string?[] { null, "upper", "kjv", "json", "latin", null, "poem", "german" };
        await Task.WhenAll(names.Select(name => Task.Run(() => TokensAsync(engine, Request(name, 300)))));
        // Readers are woken before the probe is told of the last step.
        await engine.Loop.WhenIdleAsync();
        Assert.True(probe.Count >= 300, $"{probe.Count} steps");
        Assert.Equal(0, probe[290] - probe[60]);
    }

    [Fact]
    public async Task A_small_pool_with_preemption_and_eviction_gives_the_same_tokens()
    {
        var names = Directory.GetDirectories(s_adapters).Select(Path.GetFileName).Order(StringComparer.Ordinal).Take(6).Prepend(null).ToArray();
        await using var roomy = await LoadAsync(options => options.Adapters.Directories.Add(s_adapters));
        var expected = new List<int[]>();
        foreach (var name in names)
        {
            expected.Add(await TokensAsync(roomy, Request(name, 90)));
        }

        await using var tight = await LoadAsync(options =>
        {
            options.Adapters.Directories.Add(s_adapters);
            options.Memory.PoolBytes = 60L * roomy.Info.PageBytes;
            options.Scheduler.MaxBatchTokens = 24;
            options.Native.CheckEveryStep = true;
        });
        var together = await Task.WhenAll(names.Select(name => Task.Run(() => TokensAsync(tight, Request(name, 90)))));
        for (var i = 0; i < names.Length; i++)
        {
            Assert.Equal(expected[i], together[i]);
        }

        var statistics = tight.GetStatistics();
        Assert.True(statistics.AdapterEvictions > 0 || statistics.Preemptions > 0, statistics.ToString());
        await AssertFreeAsync(tight);
    }

    [Fact]
    public async Task Cancelling_at_random_moments_frees_every_page()
    {
        await using var engine = await LoadAsync(options =>
        {
            options.Adapters.Directories.Add(s_adapters);
            options.Scheduler.MaxBatchTokens = 16;
            options.Native.CheckEveryStep = true;
        });
        var random = new Random(1);
        var requests = Enumerable.Range(0, 30).Select(i => Task.Run(async () =>
        {
            using var source = new CancellationTokenSource(TimeSpan.FromMilliseconds(random.Next(1, 300)));
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => TokensAsync(engine, Request(i % 2 == 0 ? "kjv" : null, 490) with { Prompt = Prompt.FromTokens([.. Enumerable.Range(1, 20)]) }, source.Token));
        })).ToArray();
        await Task.WhenAll(requests);
        await AssertFreeAsync(engine);
    }

    private static async Task AssertFreeAsync(SLoRAEngine engine)
    {
        for (var i = 0; i < 500 && engine.GetStatistics() is { } now && (now.KvPages > 0 || now.Running > 0); i++)
        {
            await Task.Delay(10);
        }

        Assert.Equal((0, 0, 0), engine.GetStatistics() is var now2 ? (now2.KvPages, now2.Running, now2.Queued) : default);
        await engine.CheckAsync();
    }

    [Fact]
    public async Task Thousands_of_registered_adapters_are_served_from_a_small_host_store_and_a_small_pool()
    {
        const int Count = 5000;
        var names = Directory.GetDirectories(s_adapters).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal).ToArray();
        var expected = new Dictionary<string, int[]>();
        await using (var plain = await LoadAsync(options => options.Adapters.Directories.Add(s_adapters)))
        {
            foreach (var name in names)
            {
                expected[name] = await TokensAsync(plain, Request(name, 6));
            }
        }

        var folder = Directory.CreateTempSubdirectory("slora-many-");
        try
        {
            for (var i = 0; i < Count; i++)
            {
                Directory.CreateSymbolicLink(Path.Combine(folder.FullName, $"a{i}"), Path.Combine(s_adapters, names[i % names.Length]));
            }

            await using var engine = await LoadAsync(options =>
            {
                options.Adapters.Directories.Add(folder.FullName);
                options.Adapters.Loading = AdapterLoading.OnUse;
                options.Memory.HostAdapterBytes = 24 << 20;
                options.Memory.PoolBytes = 24 << 20;
                options.Native.CheckEveryStep = true;
            });
            Assert.Equal(Count, engine.Adapters.Count);
            Assert.Equal(0, engine.GetStatistics().HostAdapters);
            var random = new Random(5);
            await Parallel.ForEachAsync(Enumerable.Range(0, 60).Select(_ => random.Next(Count)).ToArray(), new ParallelOptions { MaxDegreeOfParallelism = 6 }, async (i, ct) =>
                Assert.Equal(expected[names[i % names.Length]], await TokensAsync(engine, Request($"a{i}", 6), ct)));
            var now = engine.GetStatistics();
            Assert.InRange(now.HostAdapterBytes, 1, 24 << 20);
            Assert.True(((Catalog.AdapterCatalog)engine.Adapters).Store.Drops > 20);
            Assert.Equal(now.TotalPages, now.FreePages + now.KvPages + now.AdapterPages);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
