// slora bench trace: writes a trace to a file.
using System.CommandLine;
using SLoRA.Bench.Traces;

namespace SLoRA.Cli.Commands.Bench;

internal static class TraceCommand
{
    public static Command Create()
    {
        var traces = new TraceArguments();
        var output = new Option<string>("--out") { Description = "File to write.", Required = true };
        var command = new Command("trace", "Writes a trace as JSON Lines.") { output };
        traces.AddTo(command);
        command.SetAction(parsed =>
        {
            OutputFile.Check(parsed.GetValue(output), "--out");
            return Run(traces.Read(parsed), parsed.GetValue(output)!);
        });
        return command;
    }

    private static int Run(Trace trace, string path)
    {
        TraceFile.Write(trace, path);
        Console.WriteLine($"{path}: {trace.Requests.Count} requests for {trace.DistinctAdapters} adapters, {trace.PromptTokens + trace.OutputTokens} tokens, the last at {trace.LastSeconds:F1} s");
        return 0;
    }
}
