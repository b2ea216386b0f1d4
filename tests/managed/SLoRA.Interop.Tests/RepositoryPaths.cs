// Finds the clone that the tests were built from: they read its headers, its generated files and its tiny models.

namespace SLoRA.Interop.Tests;

internal static class RepositoryPaths
{
    public static string Root { get; } = FindRoot();

    public static string Interop => Path.Combine(Root, "interop");

    public static string TinyModel => Path.Combine(Root, "assets", "tiny-models", "llama-f32");

    private static string FindRoot()
    {
        for (string? d = AppContext.BaseDirectory; d is not null; d = Path.GetDirectoryName(d))
        {
            if (File.Exists(Path.Combine(d, "SLoRA.sln")))
            {
                return d;
            }
        }

        throw new InvalidOperationException($"no SLoRA.sln above {AppContext.BaseDirectory}");
    }
}
