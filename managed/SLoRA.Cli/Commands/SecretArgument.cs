// The ranks' secret: from a file or the environment, never from the command line, which other users can read.
using System.CommandLine;

namespace SLoRA.Cli.Commands;

internal sealed class SecretArgument
{
    private readonly Option<string?> _file = new("--secret-file") { Description = $"File with the ranks' secret in its first line; without it the environment variable {TensorParallelOptions.SecretVariable}." };

    public void AddTo(Command command) => command.Options.Add(_file);

    public string? Read(ParseResult parsed)
    {
        if (parsed.GetValue(_file) is not { } path)
        {
            return null;
        }

        var secret = File.ReadLines(path).FirstOrDefault()?.Trim();
        return string.IsNullOrEmpty(secret) ? throw new ArgumentException($"--secret-file is '{path}', whose first line is empty") : secret;
    }
}
