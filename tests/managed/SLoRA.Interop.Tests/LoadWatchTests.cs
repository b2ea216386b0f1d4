// The flag and the counters that a load shares with the caller, without a load.

namespace SLoRA.Interop.Tests;

public sealed unsafe class LoadWatchTests
{
    [Fact]
    public void Cancelling_the_token_sets_the_flag()
    {
        using CancellationTokenSource source = new();
        using LoadWatch watch = new(observer: null, source.Token);
        Assert.Equal(0u, watch.Progress->Cancel);

        source.Cancel();

        Assert.Equal(1u, watch.Progress->Cancel);
    }

    [Fact]
    public void The_last_report_is_the_last_count_and_none_comes_after_dispose()
    {
        LastReport report = new();
        LoadWatch watch = new(report, CancellationToken.None);
        watch.Progress->TotalBytes = 10;
        watch.Progress->DoneBytes = 10;

        watch.Dispose();

        Assert.Equal(new NativeLoadProgress(10, 10), report.Value);
        Assert.True(watch.Progress is null);
    }

    private sealed class LastReport : IProgress<NativeLoadProgress>
    {
        public NativeLoadProgress Value { get; private set; }

        public void Report(NativeLoadProgress value) => Value = value;
    }
}
