// The loop's promises: cancellation in every phase, bounded queue, faults, draining, disposal, no allocation.
using SLoRA.Engine.Loop;
using SLoRA.Engine.Native;
using SLoRA.Engine.Tests.Fakes;

namespace SLoRA.Engine.Tests;

public class EngineLoopTests
{
    private static GenerationRequest Request(int prompt = 4, int max = 400) => new() { Prompt = Prompt.FromTokens([.. Enumerable.Range(1, prompt)]), MaxOutputTokens = max };

    private static async Task Until(Func<bool> holds)
    {
        for (var i = 0; i < 1000 && !holds(); i++)
        {
            await Task.Delay(5);
        }

        Assert.True(holds());
    }

    [Fact]
    public async Task A_steady_decode_step_allocates_nothing_on_the_loop_s_thread()
    {
        await using var test = TestEngine.Start(FakeNativeEngine.DefaultGeometry with { NumPages = 4096, MaxContext = 4096 });
        await test.LoadAdapterAsync("a");
        await test.LoadAdapterAsync("b");
        var probe = new StepProbe(3000);
        test.Native.StepTime = TimeSpan.FromTicks(1);
        test.Engine.Loop.Probe = probe;

        // On a busy machine a request may come long after the first: none of them steps before all are there.
        test.Native.StepGate.Reset();
        var requests = Enumerable.Range(0, 8).Select(i => Task.Run(() => test.GenerateAsync(Request(max: 2000) with
        {
            Adapters = (i % 3) switch { 0 => [], 1 => ["a"], _ => ["b"] },
            Sampling = new SamplingOptions { NumLogprobs = i % 2 == 0 ? 2 : null },
        }))).ToArray();
        await Until(() => test.Engine.GetStatistics() is { } now && now.Running + now.Queued == requests.Length);
        test.Native.StepGate.Set();
        await Task.WhenAll(requests);

        // 1000 steps in the middle: admission is behind, the end is ahead.
        Assert.True(probe.Count > 1600, $"{probe.Count} steps");
        Assert.Equal(0, probe[1500] - probe[500]);
    }

    [Fact]
    public async Task Cancelled_while_queued_it_leaves_the_queue()
    {
        await using var test = TestEngine.Start(FakeNativeEngine.DefaultGeometry with { MaxBatchRows = 1 });
        test.Native.StepGate.Reset();
        using var first = new CancellationTokenSource();
        using var second = new CancellationTokenSource();
        var running = test.GenerateAsync(Request(), first.Token);
        await Until(() => test.Engine.GetStatistics() is { Running: 1, Queued: 0 });
        var queued = test.GenerateAsync(Request(), second.Token);
        await Until(() => test.Engine.GetStatistics().Queued == 1);
        await second.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => queued);
        test.Native.StepTime = TimeSpan.FromMilliseconds(2);
        test.Native.StepGate.Set();
        await Until(() => test.Engine.GetStatistics().Queued == 0);
        await first.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
        await test.AssertAllFreeAsync();
    }

    [Fact]
    public async Task Cancelled_between_the_chunks_of_its_prompt_it_frees_its_pages()
    {
        await using var test = TestEngine.Start(FakeNativeEngine.DefaultGeometry with { MaxBatchTokens = 16 });
        test.Native.StepGate.Reset();
        using var source = new CancellationTokenSource();
        var task = test.GenerateAsync(Request(prompt: 200, max: 10), source.Token);
        await Until(() => test.Engine.GetStatistics().KvPages == 2);
        await source.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => task);
        test.Native.StepGate.Set();
        await test.AssertAllFreeAsync();
        Assert.True(test.Engine.GetStatistics().Tokens < 200);
    }

    [Fact]
    public async Task A_consumer_that_leaves_while_tokens_come_frees_its_pages()
    {
        await using var test = TestEngine.Start();
        test.Native.StepTime = TimeSpan.FromMilliseconds(1);
        await foreach (var chunk in test.Engine.GenerateAsync(Request()))
        {
            if (chunk.TokenIds.Count > 0)
            {
                break;
            }
        }

        await test.AssertAllFreeAsync();
        Assert.True(test.Engine.GetStatistics().Tokens < 300);
    }

    [Fact]
    public async Task A_full_queue_refuses_with_a_time_to_try_again()
    {
        await using var test = TestEngine.Start(FakeNativeEngine.DefaultGeometry with { MaxBatchRows = 1 }, new SchedulerOptions { MaxQueue = 2 });
        test.Native.StepGate.Reset();
        var tasks = new List<Task> { test.GenerateAsync(Request()) };
        await Until(() => test.Engine.GetStatistics() is { Running: 1, Queued: 0 });
        tasks.Add(test.GenerateAsync(Request()));
        tasks.Add(test.GenerateAsync(Request()));
        var error = await Assert.ThrowsAsync<QueueFullException>(() => test.GenerateAsync(Request()));
        Assert.True(error.RetryAfter >= TimeSpan.FromSeconds(1));
        test.Native.StepGate.Set();
        await Task.WhenAll(tasks);
        await test.GenerateAsync(Request());
    }

    [Fact]
    public async Task A_fault_ends_every_request_with_an_error_and_refuses_new_ones()
    {
        await using var test = TestEngine.Start();
        test.Native.StepTime = TimeSpan.FromMilliseconds(2);
        var tasks = Enumerable.Range(0, 3).Select(_ => test.GenerateAsync(Request())).ToArray();
        await Until(() => test.Engine.GetStatistics().Running == 3);
        test.Native.SubmitError = new SLoRAException(-301, "the device was lost");
        foreach (var task in tasks)
        {
            Assert.Contains("the device was lost", (await Assert.ThrowsAsync<SLoRAException>(() => task)).Message, StringComparison.Ordinal);
        }

        await Until(() => test.Engine.State == EngineState.Faulted);
        Assert.Contains("Faulted", (await Assert.ThrowsAsync<SLoRAException>(() => test.GenerateAsync(Request()))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Deferred_steps_are_tried_again()
    {
        await using var test = TestEngine.Start();
        foreach (var status in new[] { StepStatus.DeferredAdapter, StepStatus.DeferredAdapter, StepStatus.Ok, StepStatus.DeferredPages, StepStatus.DeferredAdapter })
        {
            test.Native.Answers.Enqueue(status);
        }

        var tasks = Enumerable.Range(0, 3).Select(_ => test.GenerateAsync(Request(max: 30))).ToArray();
        Assert.All(await Task.WhenAll(tasks), chunks => Assert.Equal(30, chunks.Count));
        await test.AssertAllFreeAsync();
    }

    [Fact]
    public async Task A_request_the_pool_cannot_hold_even_alone_ends_with_an_error()
    {
        await using var test = TestEngine.Start();
        for (var i = 0; i < 4; i++)
        {
            test.Native.Answers.Enqueue(StepStatus.DeferredPages);
        }

        await Assert.ThrowsAsync<OutOfDeviceMemoryException>(() => test.GenerateAsync(Request()));
        await test.AssertAllFreeAsync();
    }

    [Fact]
    public async Task A_step_without_device_memory_lets_a_sequence_give_way()
    {
        await using var test = TestEngine.Start();
        var expected = await test.GenerateAsync(Request(max: 200));
        test.Native.StepTime = TimeSpan.FromMilliseconds(2);
        var tasks = Enumerable.Range(0, 4).Select(_ => test.GenerateAsync(Request(max: 200))).ToArray();
        await Until(() => test.Engine.GetStatistics().Running == 4);
        test.Native.MemoryForRows = 2;
        await Until(() => test.Native.StepsWithoutMemory > 0);
        test.Native.StepTime = TimeSpan.Zero;
        foreach (var chunks in await Task.WhenAll(tasks))
        {
            Assert.Equal(expected.SelectMany(chunk => chunk.TokenIds), chunks.SelectMany(chunk => chunk.TokenIds));
        }

        await test.AssertAllFreeAsync();
    }

    [Fact]
    public async Task A_request_for_whose_step_there_is_no_device_memory_even_alone_ends_with_that_error()
    {
        await using var test = TestEngine.Start();
        test.Native.MemoryForRows = 0;
        var error = await Assert.ThrowsAsync<OutOfDeviceMemoryException>(() => test.GenerateAsync(Request()));
        Assert.Contains("1 rows, there is memory for 0", error.Message, StringComparison.Ordinal);
        test.Native.MemoryForRows = int.MaxValue;
        Assert.Equal(5, (await test.GenerateAsync(Request(max: 5))).Count);
        await test.AssertAllFreeAsync();
    }

    [Fact]
    public async Task Draining_finishes_what_runs_and_takes_nothing_new()
    {
        await using var test = TestEngine.Start();
        test.Native.StepTime = TimeSpan.FromMilliseconds(1);
        var task = test.GenerateAsync(Request(max: 50));
        await Until(() => test.Engine.GetStatistics().Running == 1);
        var drain = test.Engine.DrainAsync();
        await Assert.ThrowsAsync<SLoRAException>(() => test.GenerateAsync(Request()));
        await drain;
        Assert.Equal(50, (await task).Count);
        Assert.Equal(EngineState.Draining, test.Engine.State);
    }

    [Fact]
    public async Task Disposing_ends_running_requests_and_frees_the_engine()
    {
        var test = TestEngine.Start();
        test.Native.StepTime = TimeSpan.FromMilliseconds(1);
        await test.LoadAdapterAsync("a");
        var task = test.GenerateAsync(Request() with { Adapters = ["a"] });
        await Until(() => test.Engine.GetStatistics().Running == 1);
        await test.DisposeAsync();
        await Assert.ThrowsAsync<SLoRAException>(() => task);
        Assert.True(test.Native.IsDisposed);
        await Until(() => test.Native.DisposedAdapters.Count == 1);
        Assert.Equal(EngineState.Stopped, test.Engine.State);
    }
}
