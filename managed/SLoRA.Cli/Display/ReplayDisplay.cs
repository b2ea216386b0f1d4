// Shows a replay while it runs: a bar with the time left in a terminal, a line every ten seconds elsewhere; on standard
// error.
using SLoRA.Bench.Replay;
using SLoRA.Bench.Traces;
using Spectre.Console;

namespace SLoRA.Cli.Display;

internal static class ReplayDisplay
{
    public static async Task<T> RunAsync<T>(Trace trace, Func<IProgress<ReplayProgress>, Task<T>> replay)
    {
        if (Console.IsErrorRedirected)
        {
            return await replay(new ReplayLines(Console.Error)).ConfigureAwait(false);
        }

        return await Bars.Create(new RemainingTimeColumn()).StartAsync(context => replay(new BarProgress(context.AddTask(Markup.Escape(trace.Name), maxValue: 1)))).ConfigureAwait(false);
    }

    internal static string Describe(in ReplayProgress value) =>
        $"{value.Seconds:F0} s: {value.Ended} of {value.Total} requests done, {value.Sent - value.Ended} in work, {value.OutputTokens / Math.Max(value.Seconds, 1e-3):F0} tokens/s";

    private sealed class BarProgress(ProgressTask task) : IProgress<ReplayProgress>
    {
        public void Report(ReplayProgress value)
        {
            task.Description = Describe(value);
            task.Value = value.Share;
        }
    }
}

internal sealed class ReplayLines(TextWriter output) : IProgress<ReplayProgress>
{
    private const double Interval = 10;

    private double _next = Interval;

    public void Report(ReplayProgress value)
    {
        if (value.Seconds >= _next)
        {
            _next = value.Seconds + Interval;
            var left = value.SecondsLeft is { } seconds ? $", about {seconds:F0} s left" : "";
            output.WriteLine(ReplayDisplay.Describe(value) + left);
        }
    }
}
