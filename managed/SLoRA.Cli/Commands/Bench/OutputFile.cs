// A file that a command will write: tried before a measurement, which nobody wants to lose to a mistyped path.
namespace SLoRA.Cli.Commands.Bench;

internal static class OutputFile
{
    /// Throws ArgumentException where `path` cannot be written; leaves what is there as it is. null: no file is wanted.
    public static void Check(string? path, string option)
    {
        if (path is null)
        {
            return;
        }

        if (Directory.Exists(path))
        {
            throw new ArgumentException($"{option} is '{path}', which is a folder; a file is needed");
        }

        if (path.Length == 0 || !Directory.Exists(Path.GetDirectoryName(Path.GetFullPath(path))))
        {
            throw new ArgumentException($"{option} is '{path}', whose folder does not exist");
        }

        var isNew = !File.Exists(path);
        try
        {
            File.Open(path, FileMode.OpenOrCreate, FileAccess.Write).Dispose();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ArgumentException($"{option} is '{path}', which cannot be written: {error.Message}", error);
        }

        if (isNew)
        {
            File.Delete(path);
        }
    }
}
