// Progress bars on standard error, so that standard output stays what was asked for; gone when the work is done.
using Spectre.Console;

namespace SLoRA.Cli.Display;

internal static class Bars
{
    public static Progress Create(params ProgressColumn[] more)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        return console.Progress().AutoClear(true).Columns([new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), .. more]);
    }
}
