// What a measurement says of itself where there is no terminal.
using SLoRA.Bench.Replay;
using SLoRA.Bench.Statistics;
using SLoRA.Cli.Display;

namespace SLoRA.Integration.Tests;

public sealed class DisplayTests : IDisposable
{
    private readonly StringWriter _output = new() { NewLine = "\n" };
    private readonly ManualTime _time = new();

    public void Dispose() => _output.Dispose();

    private string[] Lines => _output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);

    [Fact]
    public void A_measurement_of_parts_says_how_many_are_done_and_the_time_left()
    {
        var lines = new PartLines(_output, _time);
        for (var i = 1; i <= 6; i++)
        {
            _time.Advance(TimeSpan.FromSeconds(2));
            lines.Report(new PartProgress("cold adapters", i, 6));
        }

        Assert.Equal(["1 of 6 cold adapters, about 10 s left", "4 of 6 cold adapters, about 4 s left", "6 of 6 cold adapters"], Lines);
    }

    [Fact]
    public void A_replay_that_stops_at_its_window_has_no_more_time_left_than_until_then()
    {
        var lines = new ReplayLines(_output);
        lines.Report(new ReplayProgress(60, 10, 98, 9, 500));
        lines.Report(new ReplayProgress(60, 10, 98, 10, 500) { StopSeconds = 12 });
        lines.Report(new ReplayProgress(98, 49, 98, 20, 4000));
        Assert.Equal(["10 s: 10 of 98 requests done, 50 in work, 50 tokens/s, about 2 s left", "20 s: 49 of 98 requests done, 49 in work, 200 tokens/s, about 20 s left"], Lines);
    }

    private sealed class ManualTime : TimeProvider
    {
        private long _ticks;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _ticks;

        public void Advance(TimeSpan span) => _ticks += span.Ticks;
    }
}
