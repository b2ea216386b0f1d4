// Adapters come, go and change while requests run.
using SLoRA.Engine.Native;
using SLoRA.Engine.Tests.Fakes;

namespace SLoRA.Engine.Tests;

public class AdapterCatalogTests
{
    private static GenerationRequest With(string adapter, int max = 10) => new() { Prompt = Prompt.FromTokens([1, 2, 3]), MaxOutputTokens = max, Adapters = [adapter] };

    [Fact]
    public async Task Bad_adapters_are_named_with_their_reason_and_the_others_served()
    {
        await using var test = TestEngine.Start();
        test.MakeAdapterFolder("good");
        test.MakeAdapterFolder("wrong", bad: true);
        test.MakeAdapterFolder("in valid");
        Directory.CreateDirectory(Path.Combine(test.Folder, "not-an-adapter"));
        var failures = await test.Engine.Adapters.LoadDirectoryAsync(test.Folder);
        Assert.Equal(["in valid", "wrong"], failures.Select(failure => failure.Name));
        Assert.Contains("lora_name is 'in valid'", failures[0].Reason, StringComparison.Ordinal);
        Assert.Contains("lora_alpha is 'x'", failures[1].Reason, StringComparison.Ordinal);
        Assert.Equal(["good"], test.Engine.Adapters.Adapters.Select(adapter => adapter.Name));
        await Assert.ThrowsAnyAsync<SLoRAException>(() => test.Engine.Adapters.LoadDirectoryAsync(test.Folder, strict: true));
    }

    [Fact]
    public async Task An_unknown_adapter_is_not_found()
    {
        await using var test = TestEngine.Start();
        var error = await Assert.ThrowsAsync<AdapterNotFoundException>(() => test.GenerateAsync(With("nobody")));
        Assert.Equal("nobody", error.AdapterName);
    }

    [Fact]
    public async Task A_request_keeps_the_revision_it_began_with()
    {
        await using var test = TestEngine.Start();
        var first = await test.LoadAdapterAsync("a");
        var expected = (await test.GenerateAsync(With("a", 100))).SelectMany(chunk => chunk.TokenIds).ToArray();
        test.Native.StepGate.Reset();
        var running = test.GenerateAsync(With("a", 100));
        while (test.Engine.GetStatistics().Running == 0)
        {
            await Task.Delay(5);
        }

        var second = await test.Engine.Adapters.LoadAsync(new AdapterSource("a", test.MakeAdapterFolder("a")) { Replace = true });
        Assert.NotEqual(first.Id, second.Id);
        Assert.Empty(test.Native.DisposedAdapters);
        test.Native.StepGate.Set();
        Assert.Equal(expected, (await running).SelectMany(chunk => chunk.TokenIds));
        Assert.Single(test.Native.DisposedAdapters);
        Assert.NotEqual(expected, (await test.GenerateAsync(With("a", 100))).SelectMany(chunk => chunk.TokenIds));
    }

    [Fact]
    public async Task Unloading_takes_the_name_at_once_and_the_adapter_when_it_is_idle()
    {
        await using var test = TestEngine.Start();
        await test.LoadAdapterAsync("a");
        test.Native.StepGate.Reset();
        var running = test.GenerateAsync(With("a", 50));
        while (test.Engine.GetStatistics().Running == 0)
        {
            await Task.Delay(5);
        }

        var unload = test.Engine.Adapters.UnloadAsync("a", UnloadMode.WhenIdle);
        await Assert.ThrowsAsync<AdapterNotFoundException>(() => test.GenerateAsync(With("a")));
        Assert.False(unload.IsCompleted);
        test.Native.StepGate.Set();
        Assert.Equal(50, (await running).Count);
        Assert.True(await unload);
        Assert.False(await test.Engine.Adapters.UnloadAsync("a"));
        await test.AssertAllFreeAsync();
    }

    [Fact]
    public async Task A_name_is_taken_until_it_is_replaced_or_unloaded_and_a_snapshot_tells_of_changes()
    {
        await using var test = TestEngine.Start();
        var before = test.Engine.Adapters.Snapshot();
        await test.LoadAdapterAsync("a");
        Assert.Empty(before.Adapters);
        for (var i = 0; i < 200 && !before.Changed.IsCancellationRequested; i++)
        {
            await Task.Delay(5);
        }

        Assert.True(before.Changed.IsCancellationRequested);
        var taken = await Assert.ThrowsAsync<RequestInvalidException>(() => test.LoadAdapterAsync("a"));
        Assert.Contains("'a' is loaded already", taken.Message, StringComparison.Ordinal);
        var reserved = await Assert.ThrowsAsync<RequestInvalidException>(() => test.LoadAdapterAsync("base"));
        Assert.Contains("the base model's name", reserved.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_adapter_s_own_chat_template_replaces_the_model_s()
    {
        await using var test = TestEngine.Start();
        var folder = test.MakeAdapterFolder("a");
        File.WriteAllText(Path.Combine(folder, "chat_template.jinja"), "{{ messages[0].content }}!");
        await test.Engine.Adapters.LoadAsync(new AdapterSource("a", folder));
        await test.LoadAdapterAsync("b");
        var chat = Prompt.FromChat([new PromptMessage("user", "Hello")]);
        var own = await test.GenerateAsync(With("a") with { Prompt = chat });
        Assert.Equal(TestEngine.Tokenizer.Encode("Hello!", false), own[0].PromptTokenIds);
        var base1 = await test.GenerateAsync(With("b") with { Prompt = chat });
        var base2 = await test.GenerateAsync(new GenerationRequest { Prompt = chat, MaxOutputTokens = 3 });
        Assert.Equal(base1[0].PromptTokenIds, base2[0].PromptTokenIds);
        Assert.Contains("<|start_header_id|>user<|end_header_id|>", TestEngine.Tokenizer.Decode([.. base1[0].PromptTokenIds!], false), StringComparison.Ordinal);
        Assert.True(test.Engine.Adapters.Find("a")!.HasChatTemplate);
    }

    [Theory]
    [InlineData("sql-v2.1", true)]
    [InlineData("org/sql:latest", true)]
    [InlineData("größe", true)]
    [InlineData("", false)]
    [InlineData("../etc", false)]
    [InlineData("a b", false)]
    [InlineData("a\n", false)]
    [InlineData("a/", false)]
    public void Names_are_what_a_url_and_a_log_can_show(string name, bool valid) => Assert.Equal(valid, AdapterSource.IsValidName(name));

    [Fact]
    public async Task Synthetic_adapters_share_images_in_turn_and_come_all_or_none()
    {
        await using var test = TestEngine.Start();
        var made = new SyntheticAdapters(10, [8, 16, 32]) { NamePrefix = "s", DistinctImages = 5, Seed = 7, TargetModules = ["q", "v"] };
        Assert.Equal(6, made.NumImages);
        await test.Engine.Adapters.LoadSyntheticAsync(made);
        Assert.Equal(Enumerable.Range(0, 10).Select(made.NameOf), test.Engine.Adapters.Adapters.Select(adapter => adapter.Name));
        Assert.Equal(10, test.Engine.Adapters.Adapters.Select(adapter => adapter.Id).Distinct().Count());
        var images = test.Native.LoadedImages.OfType<AdapterImage.Synthetic>().OrderBy(image => image.Seed).ToArray();
        Assert.Equal([8, 16, 32, 8, 16, 32], images.Select(image => image.LoraRank));
        Assert.Equal([7UL, 8UL, 9UL, 10UL, 11UL, 12UL], images.Select(image => image.Seed));
        Assert.Equal(4, test.Native.LoadedImages.OfType<AdapterImage.Shared>().Count());
        Assert.Equal(3, (await test.GenerateAsync(With("s9", 3))).Count);

        var taken = await Assert.ThrowsAsync<RequestInvalidException>(() => test.Engine.Adapters.LoadSyntheticAsync(new SyntheticAdapters(30, [8]) { NamePrefix = "s" }));
        Assert.Contains("'s0' is loaded already", taken.Message, StringComparison.Ordinal);
        Assert.Equal(10, test.Engine.Adapters.Adapters.Count);
        Assert.Equal(30, test.Native.DisposedAdapters.Count);
        await Assert.ThrowsAsync<RequestInvalidException>(() => test.Engine.Adapters.LoadSyntheticAsync(new SyntheticAdapters(0, [8])));
        await Assert.ThrowsAsync<RequestInvalidException>(() => test.Engine.Adapters.LoadSyntheticAsync(new SyntheticAdapters(1, [])));
    }

    [Fact]
    public async Task Adapters_load_and_unload_under_load_and_nothing_is_left()
    {
        await using var test = TestEngine.Start(FakeNativeEngine.DefaultGeometry with { NumPages = 64 });
        var requests = Enumerable.Range(0, 4).Select(worker => Task.Run(async () =>
        {
            for (var i = 0; i < 40; i++)
            {
                try
                {
                    await test.GenerateAsync(With($"a{(worker + i) % 5}", 12));
                }
                catch (AdapterNotFoundException)
                {
                }
            }
        })).ToArray();
        for (var i = 0; i < 60; i++)
        {
            var name = $"a{i % 5}";
            await test.Engine.Adapters.LoadAsync(new AdapterSource(name, test.MakeAdapterFolder(name)) { Replace = true });
            if (i % 3 == 0)
            {
                await test.Engine.Adapters.UnloadAsync(name);
            }
        }

        await Task.WhenAll(requests);
        foreach (var adapter in test.Engine.Adapters.Adapters)
        {
            Assert.Equal(0, adapter.ActiveRequests);
            Assert.True(await test.Engine.Adapters.UnloadAsync(adapter.Name));
        }

        Assert.Equal(60, test.Native.DisposedAdapters.Count);
        await test.AssertAllFreeAsync();
    }
}
