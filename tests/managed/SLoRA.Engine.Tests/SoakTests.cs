// Thousands of registered adapters on the demo model for as long as asked (SLORA_SOAK_SECONDS, by `./build.sh soak`): a skewed
// mix in a pool and a host store that hold a few of them. Every completion must be its golden, no page may be lost, and
// memory must not grow after the warm-up.
using System.Globalization;
using System.Text.Json;
using SLoRA.Engine.Catalog;
using SLoRA.Engine.Tests.Fakes;

namespace SLoRA.Engine.Tests;

[Trait("Category", "Soak")]
public sealed class SoakTests
{
    private const int NumAdapters = 5000;
    private const int NumClients = 8;
    private const double Skew = 0.3;

    // Choices closer than this may fall either way by another order of sums.
    private const double Margin = 5e-4;

    // What the process may grow by after the warm-up: the runtime's own caches and the allocator's, not a leak an hour long.
    private const double AllowedGrowth = 0.05;
    private const long AllowedBytes = 24L << 20;

    private static readonly string s_demo = Path.Combine(TestEngine.RepositoryRoot, "assets", "demo-model");

    private sealed record Golden(int[] Prompt, int[] Tokens);

    private static List<Golden> ReadGoldens(string name)
    {
        using var document = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(s_demo, "goldens", name + ".json")));
        var goldens = new List<Golden>();
        foreach (var entry in document.RootElement.GetProperty("cases").EnumerateArray())
        {
            var greedy = entry.GetProperty("greedy");
            var sure = greedy.GetProperty("margins_top1_top2").EnumerateArray().TakeWhile(margin => margin.GetDouble() >= Margin).Count();
            int[] Numbers(JsonElement list) => [.. list.EnumerateArray().Select(number => number.GetInt32())];
            if (sure > 0)
            {
                goldens.Add(new Golden(Numbers(entry.GetProperty("ids")), Numbers(greedy.GetProperty("ids"))[..sure]));
            }
        }

        return goldens;
    }

    private static long ResidentBytes()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        var pages = long.Parse(File.ReadAllText("/proc/self/statm").Split(' ')[1], CultureInfo.InvariantCulture);
        return pages * Environment.SystemPageSize;
    }

    [Fact]
    public async Task Five_thousand_adapters_at_a_small_pool_lose_nothing()
    {
        var asked = Environment.GetEnvironmentVariable("SLORA_SOAK_SECONDS");
        Assert.SkipUnless(double.TryParse(asked, CultureInfo.InvariantCulture, out var seconds), "SLORA_SOAK_SECONDS is not set: ./build.sh soak");
        var names = Directory.GetDirectories(Path.Combine(s_demo, "adapters")).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal).ToArray();
        var goldens = names.ToDictionary(name => name, ReadGoldens);
        var folder = Directory.CreateTempSubdirectory("slora-soak-");
        try
        {
            for (var i = 0; i < NumAdapters; i++)
            {
                Directory.CreateSymbolicLink(Path.Combine(folder.FullName, $"a{i}"), Path.Combine(s_demo, "adapters", names[i % names.Length]));
            }

            var options = new SLoRAOptions();
            options.Model.Path = TestEngine.DemoModel;
            options.Model.Dtype = ComputeDtype.F32;
            options.Native.LibraryPath = Environment.GetEnvironmentVariable("SLORA_NATIVE_LIBRARY") ?? Path.Combine(TestEngine.RepositoryRoot, "out", "native", "release", "lib", "libslora.so");
            options.Memory.HostAdapterBytes = 48 << 20;
            options.Memory.PoolBytes = 20 << 20;
            options.Scheduler.MaxSequences = NumClients;
            options.Adapters.Directories.Add(folder.FullName);
            options.Adapters.Loading = AdapterLoading.OnUse;
            await using var engine = await SLoRAEngine.LoadAsync(options);
            Assert.Equal(NumAdapters, engine.Adapters.Count);
            var run = new Run(engine, names, goldens, TimeSpan.FromSeconds(seconds));
            await run.RunAsync();
            await AssertNothingHeldAsync(engine);
            run.AssertHeld();
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static async Task AssertNothingHeldAsync(SLoRAEngine engine)
    {
        await engine.DrainAsync();
        await engine.CheckAsync();
        var now = engine.GetStatistics();
        Assert.Equal((0, 0, 0), (now.KvPages, now.Running, now.Queued));
        Assert.Equal(now.TotalPages, now.FreePages + now.AdapterPages);
        Assert.All(engine.Adapters.Adapters, adapter => Assert.Equal(0, adapter.ActiveRequests));
    }

    private sealed class Run(SLoRAEngine engine, string[] names, Dictionary<string, List<Golden>> goldens, TimeSpan length)
    {
        private readonly long _started = TimeProvider.System.GetTimestamp();
        private long _completions;
        private long _tokens;
        private long _warmBytes;
        private long _endBytes;

        private TimeSpan Elapsed => TimeProvider.System.GetElapsedTime(_started);

        public async Task RunAsync()
        {
            var clients = Enumerable.Range(0, NumClients).Select(client => Task.Run(() => ClientAsync(new Random(client)))).ToList();
            var all = Task.WhenAll(clients);
            while (!all.IsCompleted)
            {
                await Task.WhenAny(all, Task.Delay(TimeSpan.FromSeconds(5)));
                await engine.CheckAsync();
                if (_warmBytes == 0 && Elapsed > length / 3)
                {
                    _warmBytes = ResidentBytes();
                }
            }

            await all;
            _endBytes = ResidentBytes();
        }

        public void AssertHeld()
        {
            var now = engine.GetStatistics();
            var drops = ((AdapterCatalog)engine.Adapters).Store.Drops;
            Console.WriteLine(
                $"soak: {Elapsed.TotalSeconds:F0} s, {_completions} completions, {_tokens} tokens, {now.AdapterLoads} loads into pages, {now.AdapterEvictions} evictions, {drops} images dropped, {now.Preemptions} preemptions, {_warmBytes >> 20} MiB after the warm-up, {_endBytes >> 20} MiB at the end");
            Assert.True(now.AdapterEvictions > 10 && drops > 10, "the pool or the host store was not small enough to be a test");
            Assert.True(_endBytes <= (_warmBytes * (1 + AllowedGrowth)) + AllowedBytes, $"memory grew from {_warmBytes} to {_endBytes} bytes");
        }

        private async Task ClientAsync(Random random)
        {
            while (Elapsed < length)
            {
                var index = (int)(Math.Pow(random.NextDouble(), 1 / Skew) * NumAdapters);
                var choices = goldens[names[index % names.Length]];
                var golden = choices[random.Next(choices.Count)];
                var request = new GenerationRequest
                {
                    Prompt = Prompt.FromTokens(golden.Prompt),
                    Adapters = [$"a{index}"],
                    MaxOutputTokens = golden.Tokens.Length,
                    IgnoreEos = true,
                };
                var tokens = new List<int>();
                await foreach (var chunk in engine.GenerateAsync(request))
                {
                    tokens.AddRange(chunk.TokenIds);
                }

                Assert.Equal(golden.Tokens, tokens);
                Interlocked.Increment(ref _completions);
                Interlocked.Add(ref _tokens, tokens.Count);
            }
        }
    }
}
