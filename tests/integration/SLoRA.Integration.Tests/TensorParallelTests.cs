// One model over several ranks, as users run it: threads of the server, or `slora worker` processes that join it.
namespace SLoRA.Integration.Tests;

public class TensorParallelTests
{
    private const string Secret = "for this test alone";

    private static Task<TestHost> StartAsync(int size, LoraSharding sharding, string? listen) => TestHost.StartRealAsync(options =>
    {
        options.TensorParallel.Size = size;
        options.TensorParallel.LoraSharding = sharding;
        options.TensorParallel.Listen = listen;
        options.TensorParallel.Secret = listen is null ? null : Secret;
        options.TensorParallel.JoinLimitSeconds = 100;
    });

    private static void NeedsNative() => Assert.SkipUnless(File.Exists(TestHost.NativeLibrary), $"the native library is not built: {TestHost.NativeLibrary}");

    [Theory]
    [InlineData(2, LoraSharding.Aligned)]
    [InlineData(2, LoraSharding.Full)]
    public async Task Threads_give_the_goldens(int size, LoraSharding sharding)
    {
        await using var host = await StartAsync(size, sharding, null);
        await DemoGoldens.AssertAnsweredAsync(host);
        await host.AssertServingAndFreeAsync();
    }

    [Theory]
    [InlineData(2, LoraSharding.Aligned)]
    [InlineData(4, LoraSharding.Full)]
    public async Task Processes_give_the_goldens_and_end_with_rank_0(int size, LoraSharding sharding)
    {
        NeedsNative();
        var address = RankProcess.FreeAddress();
        var workers = Enumerable.Range(1, size - 1).Select(rank => RankProcess.Start(rank, address, Secret, "--join-limit", "100")).ToArray();
        await using (var host = await StartAsync(size, sharding, address))
        {
            await DemoGoldens.AssertAnsweredAsync(host);
            await host.AssertServingAndFreeAsync();
        }

        foreach (var worker in workers)
        {
            using (worker)
            {
                var (code, error) = await worker.EndAsync();
                Assert.True(code == 0, error);
            }
        }
    }

    [Fact]
    public async Task A_killed_worker_ends_the_engine_in_one_clear_error()
    {
        NeedsNative();
        var address = RankProcess.FreeAddress();
        using var worker = RankProcess.Start(1, address, Secret, "--join-limit", "100");
        await using var host = await StartAsync(2, LoraSharding.Aligned, address);
        await host.AssertServingAndFreeAsync();
        worker.Kill();
        var begin = DateTime.UtcNow;
        var (status, body) = await host.PostAsync("/v1/completions", """{"model":"base","prompt":"Hello","max_tokens":200,"temperature":0,"ignore_eos":true}""");
        Assert.InRange(status, 500, 599);
        Assert.Contains("rank 1 of 2", body.ToString(), StringComparison.Ordinal);
        Assert.True(DateTime.UtcNow - begin < TimeSpan.FromSeconds(40));
    }

    [Fact]
    public async Task A_rank_that_is_there_twice_ends_all_in_one_clear_error()
    {
        NeedsNative();
        var address = RankProcess.FreeAddress();
        using var first = RankProcess.Start(1, address, Secret, "--join-limit", "100");
        using var second = RankProcess.Start(2, address, Secret, "--join-limit", "100");
        var start = StartAsync(4, LoraSharding.Aligned, address);
        await Task.Delay(TimeSpan.FromSeconds(3));
        // The fourth process gives itself another's number.
        using var twin = RankProcess.Start(2, address, Secret, "--join-limit", "100");
        var failure = await Assert.ThrowsAnyAsync<Exception>(async () => await (await start).DisposeAsync());
        Assert.Contains("two processes called themselves rank 2", failure.ToString(), StringComparison.Ordinal);
        foreach (var worker in new[] { first, second, twin })
        {
            var (code, error) = await worker.EndAsync();
            Assert.Equal(1, code);
            Assert.Contains("refused: two processes called themselves rank 2", error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Another_secret_is_refused_on_both_sides()
    {
        NeedsNative();
        var address = RankProcess.FreeAddress();
        using var worker = RankProcess.Start(1, address, "another", "--join-limit", "100");
        var failure = await Assert.ThrowsAnyAsync<Exception>(async () => await (await StartAsync(2, LoraSharding.Aligned, address)).DisposeAsync());
        Assert.Contains("has another secret than rank 0", failure.ToString(), StringComparison.Ordinal);
        var (code, error) = await worker.EndAsync();
        Assert.Equal(1, code);
        Assert.Single(error.Split('\n'));
        Assert.StartsWith($"slora: rank 0 at {address} has another secret than rank 1", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Another_model_is_refused_on_both_sides()
    {
        NeedsNative();
        var folder = Directory.CreateTempSubdirectory("slora-other-model-");
        foreach (var file in Directory.EnumerateFiles(SLoRA.Engine.Tests.Fakes.TestEngine.DemoModel))
        {
            File.Copy(file, Path.Combine(folder.FullName, Path.GetFileName(file)));
        }

        var config = Path.Combine(folder.FullName, "config.json");
        var text = File.ReadAllText(config);
        File.WriteAllText(config, text.Insert(text.IndexOf('{', StringComparison.Ordinal) + 1, "\n  \"_name_or_path\": \"another\","));
        var address = RankProcess.FreeAddress();
        using var worker = RankProcess.Start(1, address, Secret, "--join-limit", "100", "--model", folder.FullName);
        var failure = await Assert.ThrowsAnyAsync<Exception>(async () => await (await StartAsync(2, LoraSharding.Aligned, address)).DisposeAsync());
        Assert.Contains("rank 1 of 2 has another model than rank 0", failure.ToString(), StringComparison.Ordinal);
        var (code, error) = await worker.EndAsync();
        Assert.Equal(1, code);
        Assert.Contains("rank 1 of 2 has another model than rank 0", error, StringComparison.Ordinal);
        folder.Delete(recursive: true);
    }

    [Fact]
    public async Task A_worker_says_what_it_lacks()
    {
        NeedsNative();
        using var noSecret = RankProcess.Start(1, "127.0.0.1:1", null);
        var (code, error) = await noSecret.EndAsync();
        Assert.Equal((1, "slora: Secret is missing; rank 0 asks for one (SLORA_TP_SECRET may hold it)"), (code, error));
        using var nobody = RankProcess.Start(1, RankProcess.FreeAddress(), Secret, "--join-limit", "1");
        (code, error) = await nobody.EndAsync();
        Assert.Equal(1, code);
        Assert.StartsWith("slora: cannot reach rank 0 at 127.0.0.1:", error, StringComparison.Ordinal);
    }
}
