// What the search for the library reads from the process, gathered so that tests can give something else.

using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Runtime.InteropServices;

namespace SLoRA.Interop.Loading;

/// <param name="VariablePath">The value of SLORA_NATIVE_LIBRARY.</param>
/// <param name="HomeDirectories">The folders of the application and of this assembly.</param>
/// <param name="PackagesDirectory">NuGet's package folder.</param>
/// <param name="PackageVersion">The version of this assembly, which is that of its native package.</param>
internal sealed record ProbeEnvironment(
    string? VariablePath, IReadOnlyList<string> HomeDirectories, string PackagesDirectory, string PackageVersion)
{
    public const string Variable = "SLORA_NATIVE_LIBRARY";

    public static string FileName =>
        OperatingSystem.IsWindows() ? "slora.dll" : OperatingSystem.IsMacOS() ? "libslora.dylib" : "libslora.so";

    public static string RuntimeIdentifier => RuntimeInformation.RuntimeIdentifier;

    /// <summary>The runtime id that packages use. Distributions that build .NET themselves put their own name and version
    /// into <see cref="RuntimeIdentifier"/> ("ubuntu.24.04-x64").</summary>
    public static string PortableRuntimeIdentifier
    {
        get
        {
            string system = OperatingSystem.IsWindows() ? "win" : OperatingSystem.IsMacOS() ? "osx"
                : RuntimeIdentifier.Contains("musl", StringComparison.Ordinal) || RuntimeIdentifier.StartsWith("alpine", StringComparison.Ordinal)
                    ? "linux-musl" : "linux";
            return $"{system}-{RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()}";
        }
    }

    public static ProbeEnvironment Current() => new(
        Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } path ? path : null,
        [.. new[] { AppContext.BaseDirectory, AssemblyDirectory() }.OfType<string>().Select(Path.TrimEndingDirectorySeparator)
            .Distinct()],
        Environment.GetEnvironmentVariable("NUGET_PACKAGES") is { Length: > 0 } packages
            ? packages
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages"),
        Version());

    // Scripts and notebooks load this assembly from elsewhere than the application's folder.
    [UnconditionalSuppressMessage("SingleFile", "IL3000", Justification = "Empty in a single file, and then left out.")]
    private static string? AssemblyDirectory() =>
        typeof(ProbeEnvironment).Assembly.Location is { Length: > 0 } location ? Path.GetDirectoryName(location) : null;

    private static string Version()
    {
        Assembly assembly = typeof(ProbeEnvironment).Assembly;
        string? informational = assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion;
        return informational?.Split('+')[0] ?? assembly.GetName().Version!.ToString(3);
    }
}
