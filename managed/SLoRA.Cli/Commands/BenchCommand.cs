// slora bench: measurements that need no server.
using System.CommandLine;

namespace SLoRA.Cli.Commands;

internal static class BenchCommand
{
    public static Command Create() => new("bench", "Measures.") { BenchTpCommand.Create() };
}
