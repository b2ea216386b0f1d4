// What a load and a measurement say of themselves where there is no terminal.
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
    public void Ten_thousand_adapters_are_a_few_lines_with_their_count_and_the_time_left()
    {
        var lines = new LoadLines(_output, _time);
        lines.Report(new LoadProgress("model", 0, 100));
        lines.Report(new LoadProgress("model", 100, 100));
        lines.Report(new LoadProgress(LoadProgress.Recording, 1, 5));
        for (var i = 1; i <= 10_000; i++)
        {
            _time.Advance(TimeSpan.FromMilliseconds(1.6));
            lines.Report(new LoadProgress($"a{i}", i, 10_000));
        }

        lines.Report(new LoadProgress(string.Empty, 10_000, 10_000));
        Assert.Equal(
            [
                "loading model", "recording decode steps", "loading adapters, 10000 in all", "adapters: 3126 of 10000, about 11 s left",
                "adapters: 6251 of 10000, about 6 s left", "adapters: 9376 of 10000, about 1 s left", "adapters: 10000 of 10000",
            ],
            Lines);
    }

    [Fact]
    public void A_long_stage_says_how_far_it_is_and_a_second_folder_begins_anew()
    {
        var lines = new LoadLines(_output, _time);
        lines.Report(new LoadProgress("model", 0, 0));
        _time.Advance(TimeSpan.FromSeconds(6));
        lines.Report(new LoadProgress("model", 30, 120));
        lines.Report(new LoadProgress("a", 1, 1));
        lines.Report(new LoadProgress(string.Empty, 1, 1));
        lines.Report(new LoadProgress("b", 1, 2));
        lines.Report(new LoadProgress("c", 2, 2));
        Assert.Equal(["loading model", "model: 25 %, about 18 s left", "loading adapters, 1 in all", "adapters: 1 of 1", "loading adapters, 2 in all", "adapters: 2 of 2"], Lines);
    }

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
