// Disk, host memory, pages: adapters are read when they are named, dropped when the budget is spent, found by resolvers and
// by watching a folder.
using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Text;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using SLoRA.Engine.Catalog;
using SLoRA.Engine.Tests.Fakes;

namespace SLoRA.Engine.Tests;

public class TierTests
{
    private static GenerationRequest With(string adapter, int max = 4) => new() { Prompt = Prompt.FromTokens([1, 2, 3]), MaxOutputTokens = max, Adapters = [adapter] };

    private static async Task UntilAsync(Func<bool> holds)
    {
        for (var i = 0; i < 1000 && !holds(); i++)
        {
            await Task.Delay(5);
        }

        Assert.True(holds());
    }

    [Fact]
    public async Task A_registered_adapter_costs_its_configuration_until_it_is_named()
    {
        await using var test = TestEngine.Start();
        for (var i = 0; i < 300; i++)
        {
            test.MakeAdapterFolder($"a{i}");
        }

        File.WriteAllText(Path.Combine(test.Folder, "a7", "adapter_config.json"), """{"r": 24}""");
        File.WriteAllText(Path.Combine(test.Folder, "a8", "adapter_config.json"), "{\"r\": ");
        var failures = await test.Engine.Adapters.RegisterDirectoryAsync(test.Folder);
        Assert.Equal("a8", Assert.Single(failures).Name);
        Assert.Contains("is not JSON", failures[0].Reason, StringComparison.Ordinal);
        Assert.Equal(299, test.Engine.Adapters.Count);
        Assert.Empty(test.Native.LoadedImages);
        var before = test.Engine.Adapters.Find("a7")!;
        Assert.Equal((AdapterResidency.Disk, 24, 0L), (before.Residency, before.LoraRank, before.Bytes));

        Assert.Equal(4, (await test.GenerateAsync(With("a7"))).Count);
        Assert.Single(test.Native.LoadedImages);
        Assert.Equal(4096, test.Engine.Adapters.Find("a7")!.Bytes);
        var taken = Assert.Throws<RequestInvalidException>(() => test.Engine.Adapters.Register(new AdapterSource("a7", Path.Combine(test.Folder, "a7"))));
        Assert.Contains("'a7' is loaded already", taken.Message, StringComparison.Ordinal);
        await Assert.ThrowsAnyAsync<SLoRAException>(() => test.Engine.Adapters.RegisterDirectoryAsync(test.Folder, strict: true));
    }

    [Fact]
    public async Task Requests_for_one_cold_adapter_wait_for_one_load_and_others_do_not_wait()
    {
        await using var test = TestEngine.Start();
        await test.LoadAdapterAsync("warm");
        test.Engine.Adapters.Register(new AdapterSource("cold", test.MakeAdapterFolder("cold")));
        test.Native.LoadGate.Reset();
        using var leaver = new CancellationTokenSource();
        var left = test.GenerateAsync(With("cold"), leaver.Token);
        var waiting = Enumerable.Range(0, 8).Select(_ => test.GenerateAsync(With("cold"))).ToArray();
        Assert.Equal(4, (await test.GenerateAsync(With("warm"))).Count);
        await leaver.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => left);
        Assert.All(waiting, task => Assert.False(task.IsCompleted));
        test.Native.LoadGate.Set();
        await Task.WhenAll(waiting);
        Assert.Equal(2, test.Native.LoadedImages.Count);
    }

    [Fact]
    public async Task A_load_that_fails_fails_its_requests_and_the_next_request_tries_again()
    {
        await using var test = TestEngine.Start();
        var folder = test.MakeAdapterFolder("bad", bad: true);
        test.Engine.Adapters.Register(new AdapterSource("bad", folder));
        await test.LoadAdapterAsync("good");
        var bad = test.GenerateAsync(With("bad"));
        Assert.Equal(4, (await test.GenerateAsync(With("good"))).Count);
        var error = await Assert.ThrowsAsync<AdapterIncompatibleException>(() => bad);
        Assert.Contains("lora_alpha is 'x'", error.Message, StringComparison.Ordinal);
        File.Delete(Path.Combine(folder, "bad"));
        Assert.Equal(4, (await test.GenerateAsync(With("bad"))).Count);
    }

    [Fact]
    public async Task Host_memory_keeps_to_its_budget_and_drops_what_nobody_holds()
    {
        await using var test = TestEngine.Start();
        test.Native.MaxHostAdapters = 3;
        for (var i = 0; i < 12; i++)
        {
            test.Engine.Adapters.Register(new AdapterSource($"a{i}", test.MakeAdapterFolder($"a{i}")) { Pinned = i == 0 });
        }

        // Many more at a time than there is room for: each waits until images are free, and all end.
        await test.GenerateAsync(With("a0"));
        await Task.WhenAll(Enumerable.Range(0, 48).Select(i => Task.Run(() => test.GenerateAsync(With($"a{i % 12}", 6)))));
        Assert.Equal(3, test.Native.MostHostAdapters);
        Assert.NotEqual(AdapterResidency.Disk, test.Engine.Adapters.Find("a0")!.Residency);
        Assert.Equal(3, test.Engine.Adapters.Adapters.Count(adapter => adapter.Residency != AdapterResidency.Disk));
        Assert.Equal(12, test.Engine.Adapters.Count);
        await test.AssertAllFreeAsync();
    }

    [Fact]
    public async Task Where_no_room_can_come_the_request_is_told_so()
    {
        await using var test = TestEngine.Start();
        test.Native.MaxHostAdapters = 1;
        await test.Engine.Adapters.LoadAsync(new AdapterSource("pinned", test.MakeAdapterFolder("pinned")) { Pinned = true });
        test.Engine.Adapters.Register(new AdapterSource("a", test.MakeAdapterFolder("a")));
        var error = await Assert.ThrowsAsync<OutOfDeviceMemoryException>(() => test.GenerateAsync(With("a")));
        Assert.Contains("host adapter budget", error.Message, StringComparison.Ordinal);
        test.Engine.Adapters.SetPinned("pinned", false);
        Assert.Equal(4, (await test.GenerateAsync(With("a"))).Count);
    }

    [Fact]
    public async Task The_least_used_image_is_dropped_first()
    {
        await using var test = TestEngine.Start();
        test.Native.MaxHostAdapters = 2;
        foreach (var name in new[] { "often", "once", "new" })
        {
            test.Engine.Adapters.Register(new AdapterSource(name, test.MakeAdapterFolder(name)));
        }

        foreach (var name in new[] { "often", "often", "often", "once", "new" })
        {
            await test.GenerateAsync(With(name));
        }

        Assert.Equal(AdapterResidency.Disk, test.Engine.Adapters.Find("once")!.Residency);
        Assert.NotEqual(AdapterResidency.Disk, test.Engine.Adapters.Find("often")!.Residency);
    }

    [Fact]
    public async Task Unknown_names_are_asked_of_the_resolver_once_they_are_used()
    {
        var store = Directory.CreateTempSubdirectory("slora-resolve-");
        try
        {
            foreach (var name in new[] { "one", "team/two" })
            {
                Directory.CreateDirectory(Path.Combine(store.FullName, name));
                File.WriteAllText(Path.Combine(store.FullName, name, "adapter_config.json"), "{}");
            }

            await using var test = TestEngine.Start(resolver: new FileSystemAdapterResolver(store.FullName));
            Assert.Equal(0, test.Engine.Adapters.Count);
            await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => Task.Run(() => test.GenerateAsync(With("team/two")))));
            Assert.Single(test.Native.LoadedImages);
            Assert.Equal(["team/two"], test.Engine.Adapters.Adapters.Select(adapter => adapter.Name));
            Assert.Equal("one", (await test.Engine.Adapters.EnsureLoadedAsync("one")).Name);

            // An adapter beside the folder, whose name leads out of it.
            File.WriteAllText(Path.Combine(Directory.CreateDirectory(store.FullName + "-out").FullName, "adapter_config.json"), "{}");
            foreach (var name in new[] { "three", $"x/../../{store.Name}-out" })
            {
                await Assert.ThrowsAsync<AdapterNotFoundException>(() => test.GenerateAsync(With(name)));
            }
        }
        finally
        {
            store.Delete(recursive: true);
            Directory.Delete(store.FullName + "-out", recursive: true);
        }
    }

    // A safetensors file of one tensor; `missing` bytes short of what its header says.
    private static void WriteWeights(string folder, int bytes, int missing = 0) =>
        WriteFile(folder, $$$"""{"a": {"dtype": "U8", "shape": [{{{bytes}}}], "data_offsets": [0, {{{bytes}}}]}}""", bytes - missing);

    private static void WriteFile(string folder, string header, int dataBytes)
    {
        var text = Encoding.UTF8.GetBytes(header);
        var file = new byte[8 + text.Length + dataBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(file, (ulong)text.Length);
        text.CopyTo(file, 8);
        File.WriteAllBytes(Path.Combine(folder, "adapter_model.safetensors"), file);
    }

    [Fact]
    public async Task A_watched_folder_is_followed()
    {
        await using var test = TestEngine.Start();
        var catalog = (AdapterCatalog)test.Engine.Adapters;
        await using var watch = new DirectoryWatch(catalog, test.Folder, TimeSpan.FromHours(1), TimeProvider.System, NullLogger.Instance);

        // New: at the second look that sees it unchanged and whole.
        var folder = test.MakeAdapterFolder("a");
        WriteWeights(folder, 100, missing: 40);
        for (var look = 0; look < 3; look++)
        {
            watch.Look();
            Assert.Null(catalog.Find("a"));
        }

        WriteWeights(folder, 100);
        watch.Look();
        Assert.Null(catalog.Find("a"));
        watch.Look();
        Assert.Equal(AdapterResidency.Disk, catalog.Find("a")!.Residency);

        // Changed: requests get the new files, those that run keep the old ones.
        Assert.Equal(4, (await test.GenerateAsync(With("a"))).Count);
        var first = catalog.Find("a")!.Id;
        watch.Look();
        Assert.Equal(first, catalog.Find("a")!.Id);
        WriteWeights(folder, 200);
        watch.Look();
        watch.Look();
        await test.GenerateAsync(With("a"));
        Assert.NotEqual(first, catalog.Find("a")!.Id);

        // Bad although it is whole: named once, and taken when it is mended.
        var bad = test.MakeAdapterFolder("bad");
        File.WriteAllText(Path.Combine(bad, "adapter_config.json"), "[]");
        WriteWeights(bad, 10);
        for (var look = 0; look < 3; look++)
        {
            watch.Look();
        }

        Assert.Null(catalog.Find("bad"));
        File.WriteAllText(Path.Combine(bad, "adapter_config.json"), "{ }");
        watch.Look();
        watch.Look();
        Assert.NotNull(catalog.Find("bad"));

        // Removed, and others' adapters left alone.
        await test.Engine.Adapters.LoadAsync(new AdapterSource("other", Directory.CreateDirectory(Path.Combine(test.Folder, "deep", "other")).FullName));
        Directory.Delete(folder, recursive: true);
        watch.Look();
        Assert.Null(catalog.Find("a"));
        Assert.NotNull(catalog.Find("other"));
        await Assert.ThrowsAsync<AdapterNotFoundException>(() => test.GenerateAsync(With("a")));
    }

    [Fact]
    public async Task A_watch_runs_by_itself()
    {
        await using var test = TestEngine.Start();
        test.Engine.Watch(test.Folder, TimeSpan.FromMilliseconds(20));
        var folder = test.MakeAdapterFolder("late");
        WriteWeights(folder, 100);
        await UntilAsync(() => test.Engine.Adapters.Find("late") is not null);
        Directory.Delete(folder, recursive: true);
        await UntilAsync(() => test.Engine.Adapters.Find("late") is null);
    }
    [Theory]
    [InlineData("""{"a": {"dtype": "U8", "data_offsets": [0]}}""")]
    [InlineData("""{"a": {"dtype": "U8", "data_offsets": []}}""")]
    [InlineData("""{"a": {"dtype": "U8", "data_offsets": {"1": 4}}}""")]
    [InlineData("""{"\ud800": 1, "a": {"data_offsets": [0, "x"]}}""")]
    [InlineData("[]")]
    public async Task Weights_with_a_malformed_header_are_not_whole_and_stop_no_watch(string header)
    {
        await using var test = TestEngine.Start();
        var catalog = (AdapterCatalog)test.Engine.Adapters;
        await using var watch = new DirectoryWatch(catalog, test.Folder, TimeSpan.FromHours(1), TimeProvider.System, NullLogger.Instance);
        var bad = test.MakeAdapterFolder("bad");
        WriteFile(bad, header, 10);
        WriteWeights(test.MakeAdapterFolder("good"), 10);
        for (var look = 0; look < 3; look++)
        {
            watch.Look();
        }

        Assert.Equal(["good"], catalog.Adapters.Select(adapter => adapter.Name));
        WriteWeights(bad, 10);
        watch.Look();
        watch.Look();
        Assert.NotNull(catalog.Find("bad"));
    }

    [Fact]
    public async Task A_configuration_with_a_name_that_is_no_text_is_one_bad_adapter()
    {
        await using var test = TestEngine.Start();
        test.MakeAdapterFolder("good");
        File.WriteAllText(Path.Combine(test.MakeAdapterFolder("bad"), "adapter_config.json"), """{"r": 8, "\ud800": 1}""");
        var failure = Assert.Single(await test.Engine.Adapters.RegisterDirectoryAsync(test.Folder));
        Assert.Equal("bad", failure.Name);
        Assert.Contains("adapter_config.json is not JSON", failure.Reason, StringComparison.Ordinal);
        Assert.NotNull(test.Engine.Adapters.Find("good"));
    }

    [Fact]
    public async Task A_look_that_fails_is_logged_and_the_next_one_looks_again()
    {
        await using var test = TestEngine.Start();
        var folder = Path.Combine(test.Folder, "late");
        var logger = new FailingOnce();
        await using var watch = new DirectoryWatch((AdapterCatalog)test.Engine.Adapters, folder, TimeSpan.FromMilliseconds(20), TimeProvider.System, logger);
        watch.Start();
        await UntilAsync(() => !logger.Lines.IsEmpty);
        Assert.Contains($"A look at the watched folder {folder} failed", logger.Lines.First(), StringComparison.Ordinal);
        WriteWeights(test.MakeAdapterFolder(Path.Combine("late", "a")), 10);
        await UntilAsync(() => test.Engine.Adapters.Find("a") is not null);
    }

    [Fact]
    public async Task A_watch_leaves_what_others_named_alone()
    {
        await using var test = TestEngine.Start();
        var catalog = (AdapterCatalog)test.Engine.Adapters;
        await using var watch = new DirectoryWatch(catalog, test.Folder, TimeSpan.FromHours(1), TimeProvider.System, NullLogger.Instance);
        var (upper, lower) = (test.MakeAdapterFolder("upper"), test.MakeAdapterFolder("lower"));
        WriteWeights(upper, 10);
        WriteWeights(lower, 10);

        // Another name for a watched folder, a watched folder's name for another one, and a name of two parts.
        await catalog.LoadAsync(new AdapterSource("alias", upper) { Pinned = true });
        await catalog.LoadAsync(new AdapterSource("lower", upper));
        await catalog.LoadAsync(new AdapterSource("team/deep", test.MakeAdapterFolder(Path.Combine("team", "deep"))));
        for (var look = 0; look < 3; look++)
        {
            watch.Look();
        }

        Assert.Equal(["alias", "lower", "team/deep", "upper"], catalog.Adapters.Select(adapter => adapter.Name));
        Assert.Equal((upper, true), (catalog.Find("alias")!.Path, catalog.Find("alias")!.Pinned));
        Assert.Equal(upper, catalog.Find("lower")!.Path);
        Directory.Delete(upper, recursive: true);
        watch.Look();
        Assert.Equal(["alias", "lower", "team/deep"], catalog.Adapters.Select(adapter => adapter.Name));
    }

    [Fact]
    public async Task A_pin_outlives_a_change_of_a_watched_adapter_s_files()
    {
        await using var test = TestEngine.Start();
        var catalog = (AdapterCatalog)test.Engine.Adapters;
        await using var watch = new DirectoryWatch(catalog, test.Folder, TimeSpan.FromHours(1), TimeProvider.System, NullLogger.Instance);
        var folder = test.MakeAdapterFolder("a");
        foreach (var pinned in new[] { true, false })
        {
            WriteWeights(folder, pinned ? 10 : 20);
            watch.Look();
            watch.Look();
            catalog.SetPinned("a", pinned);
            WriteWeights(folder, pinned ? 11 : 21);
            watch.Look();
            watch.Look();
            Assert.Equal((pinned, AdapterResidency.Disk), (catalog.Find("a")!.Pinned, catalog.Find("a")!.Residency));
            Assert.Equal(pinned, (await catalog.EnsureLoadedAsync("a")).Pinned);
        }
    }

    // Its first line fails.
    private sealed class FailingOnce : ILogger
    {
        private int _calls;

        public ConcurrentQueue<string> Lines { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (Interlocked.Increment(ref _calls) == 1)
            {
                throw new NotSupportedException("the disk of the log is full");
            }

            Lines.Enqueue(formatter(state, exception));
        }
    }
}
