// Where and what was measured: card, driver, build, commit, command.
using System.Reflection;
using System.Runtime.InteropServices;
using SLoRA.Engine;

namespace SLoRA.Bench.Results;

internal sealed record BenchEnvironment
{
    public required string Backend { get; init; }

    /// The card, or the processor.
    public required string Device { get; init; }

    public required string Features { get; init; }

    public double DeviceGib { get; init; }

    public string? Driver { get; init; }

    public required string NativeBuild { get; init; }

    public required string Version { get; init; }

    public required string Commit { get; init; }

    public required string Command { get; init; }

    public required string Runtime { get; init; }

    public int Cores { get; init; }

    public required string StartedAt { get; init; }

    /// `backend`: "host" or "cuda".
    public static BenchEnvironment Read(string backend, string nativeBuild)
    {
        var device = NativeDiagnosis.Describe(backend);
        var version = typeof(BenchEnvironment).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown";
        return new BenchEnvironment
        {
            Backend = backend,
            Device = device.Device,
            Features = device.Features,
            DeviceGib = Math.Round(device.MemoryBytes / 1073741824.0, 1),
            Driver = ReadDriver(),
            NativeBuild = nativeBuild,
            Version = version.Split('+')[0],
            Commit = version.Contains('+', StringComparison.Ordinal) ? version.Split('+')[1] : "unknown",
            Command = string.Join(' ', ["slora", .. Environment.GetCommandLineArgs().Skip(1)]),
            Runtime = RuntimeInformation.FrameworkDescription,
            Cores = Environment.ProcessorCount,
            StartedAt = DateTimeOffset.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", System.Globalization.CultureInfo.InvariantCulture),
        };
    }

    /// Where only the client ran.
    public static BenchEnvironment OfClient() => Read("host", string.Empty) with { Backend = "http", Device = "a server", Features = string.Empty, DeviceGib = 0 };

    // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  ...": Linux only.
    private static string? ReadDriver()
    {
        const string File = "/proc/driver/nvidia/version";
        try
        {
            return System.IO.File.Exists(File)
                ? System.IO.File.ReadLines(File).First().Split(' ', StringSplitOptions.RemoveEmptyEntries).FirstOrDefault(word => word.Length > 3 && char.IsAsciiDigit(word[0]) && word.Contains('.', StringComparison.Ordinal))
                : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or InvalidOperationException)
        {
            return null;
        }
    }
}
