// Shows a load: progress bars in a terminal, lines elsewhere. Both go to standard error, so that standard output
// stays what was asked for.
using Spectre.Console;

namespace SLoRA.Cli.Display;

internal static class LoadDisplay
{
    public static async Task<T> RunAsync<T>(Func<IProgress<LoadProgress>, Task<T>> load)
    {
        if (Console.IsErrorRedirected)
        {
            return await load(new LoadLines(Console.Error, TimeProvider.System)).ConfigureAwait(false);
        }

        return await Bars.Create().StartAsync(context => load(new BarProgress(context))).ConfigureAwait(false);
    }

    // The model and its recorded steps have bars of their own; adapters share one, whose text names the one being read.
    private sealed class BarProgress(ProgressContext context) : IProgress<LoadProgress>
    {
        private const string Model = "model";

        private readonly Lock _gate = new();
        private readonly Dictionary<string, ProgressTask> _tasks = [];

        public void Report(LoadProgress value)
        {
            lock (_gate)
            {
                var isOwn = value.Stage is Model or LoadProgress.Recording;
                var key = isOwn ? value.Stage : "adapters";
                if (!_tasks.TryGetValue(key, out var task))
                {
                    _tasks[key] = task = context.AddTask(key);
                }

                task.Description = isOwn || value.Stage.Length == 0 ? key : $"{key} {Markup.Escape(value.Stage)}";
                task.MaxValue = Math.Max(1, value.Total);
                task.Value = value.Done;
            }
        }
    }
}
