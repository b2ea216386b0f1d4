// The order in which places are tried. A place asked for by name (option or environment variable) is the only one tried:
// running with another library than the one asked for would be a silent fallback.

namespace SLoRA.Interop.Loading;

internal static class LibraryCandidates
{
    private const string PackageId = "slora.native";
    private const string RootMarker = "SLoRA.sln";

    public static IReadOnlyList<string> Of(NativeLibrarySearch search, ProbeEnvironment environment)
    {
        if ((search.LibraryPath ?? environment.VariablePath) is { } asked)
        {
            return [Path.GetFullPath(asked)];
        }

        string file = ProbeEnvironment.FileName;
        string runtime = Path.Combine("runtimes", ProbeEnvironment.RuntimeIdentifier, "native");
        IEnumerable<string> folders =
        [
            .. search.Directories.Select(Path.GetFullPath),
            .. environment.HomeDirectories.SelectMany(d => new[] { d, Path.Combine(d, runtime) }),
            .. DevelopmentFolder(environment),
            Path.Combine(environment.PackagesDirectory, PackageId, environment.PackageVersion, runtime),
        ];
        return [.. folders.Select(d => Path.Combine(d, file)).Distinct(), file];
    }

    // In a clone the build writes the library below the folder of the solution.
    private static IEnumerable<string> DevelopmentFolder(ProbeEnvironment environment)
    {
        for (string? d = environment.HomeDirectories is [var home, ..] ? home : null; d is not null; d = Path.GetDirectoryName(d))
        {
            if (File.Exists(Path.Combine(d, RootMarker)))
            {
                return [Path.Combine(d, "out", "native", "release", "lib")];
            }
        }

        return [];
    }
}
