// The order in which places are tried. A place asked for by name (option or environment variable) is the only one tried:
// running with another library than the one asked for would be a silent fallback.

namespace SLoRA.Interop.Loading;

internal static class LibraryCandidates
{
    public const string RuntimesFolder = "runtimes";
    public const string NativeFolder = "native";

    private const string PackageId = "slora.native";
    private const string RootMarker = "SLoRA.sln";

    public static IReadOnlyList<string> Of(NativeLibrarySearch search, ProbeEnvironment environment)
    {
        if ((search.LibraryPath ?? environment.VariablePath) is { } asked)
        {
            return [Path.GetFullPath(asked)];
        }

        string file = ProbeEnvironment.FileName;
        string[] runtimes = [.. new[] { ProbeEnvironment.RuntimeIdentifier, ProbeEnvironment.PortableRuntimeIdentifier }
            .Distinct().Select(id => Path.Combine(RuntimesFolder, id, NativeFolder))];
        string package = Path.Combine(environment.PackagesDirectory, PackageId, environment.PackageVersion);
        IEnumerable<string> folders =
        [
            .. search.Directories.Select(Path.GetFullPath),
            .. environment.HomeDirectories.SelectMany(d => runtimes.Select(r => Path.Combine(d, r)).Prepend(d)),
            .. DevelopmentFolder(environment),
            .. runtimes.Select(r => Path.Combine(package, r)),
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
