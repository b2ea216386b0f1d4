// The command-line tool: parses, runs one command, turns what goes wrong into one line and an exit code
// (0 done, 1 failed, 2 wrong arguments, 130 interrupted).
using System.CommandLine;
using SLoRA.Cli.Commands;
using SLoRA.Cli.Commands.Bench;

namespace SLoRA.Cli;

internal static class Program
{
    private const int Failed = 1;
    private const int WrongArguments = 2;
    private const int Interrupted = 130;

    public static async Task<int> Main(string[] args)
    {
        var root = new RootCommand("Serves thousands of LoRA adapters on one base model.")
        {
            ServeCommand.Create(), WorkerCommand.Create(), GenerateCommand.Create(), AdaptersCommand.Create(), DoctorCommand.Create(), DemoCommand.Create(), BenchCommand.Create(),
        };
        var parsed = root.Parse(args);
        if (parsed.Errors.Count > 0)
        {
            var command = parsed.CommandResult.Command;
            var message = string.Join(' ', parsed.Errors[0].Message.Split((char[])['\n', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries));
            await Console.Error.WriteLineAsync($"slora: {message} See '{PathOf(command)} --help'.").ConfigureAwait(false);
            return WrongArguments;
        }

        return await RunAsync(parsed).ConfigureAwait(false);
    }

    private static string PathOf(Command command) =>
        command is RootCommand ? "slora" : $"{command.Parents.OfType<Command>().Select(PathOf).FirstOrDefault("slora")} {command.Name}";

    private static async Task<int> RunAsync(ParseResult parsed)
    {
        try
        {
            return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false }).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return Interrupted;
        }
        catch (NativeLibraryException error)
        {
            await Console.Error.WriteLineAsync($"slora: {error.Message}").ConfigureAwait(false);
            await Console.Error.WriteLineAsync("Run 'slora doctor' for the paths that were tried.").ConfigureAwait(false);
            return Failed;
        }
        catch (Exception error) when (error is SLoRAException or ArgumentException or IOException or UnauthorizedAccessException or TimeoutException or Microsoft.Extensions.Options.OptionsValidationException)
        {
            await Console.Error.WriteLineAsync($"slora: {error.Message}").ConfigureAwait(false);
            return Failed;
        }
    }
}
