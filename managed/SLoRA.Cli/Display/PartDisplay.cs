// Shows a measurement of many parts: a bar with the time left in a terminal, lines elsewhere; on standard error.
using SLoRA.Bench.Statistics;
using Spectre.Console;

namespace SLoRA.Cli.Display;

internal static class PartDisplay
{
    public static async Task<T> RunAsync<T>(Func<IProgress<PartProgress>, Task<T>> measure)
    {
        if (Console.IsErrorRedirected)
        {
            return await measure(new PartLines(Console.Error, TimeProvider.System)).ConfigureAwait(false);
        }

        return await Bars.Create(new RemainingTimeColumn()).StartAsync(context => measure(new BarProgress(context.AddTask("starting")))).ConfigureAwait(false);
    }

    private sealed class BarProgress(ProgressTask task) : IProgress<PartProgress>
    {
        public void Report(PartProgress value)
        {
            task.Description = Markup.Escape(PartLines.Describe(value));
            task.MaxValue = Math.Max(1, value.Total);
            task.Value = value.Done;
        }
    }
}
