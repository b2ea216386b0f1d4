// slora doctor: why it does not run here, or what it would run on.
using System.CommandLine;
using System.Runtime.InteropServices;
using SLoRA.Engine;

namespace SLoRA.Cli.Commands;

internal static class DoctorCommand
{
    private const double Gib = 1024.0 * 1024 * 1024;

    public static Command Create()
    {
        var library = new Option<string?>("--library") { Description = "The native library to try, instead of searching." };
        var command = new Command("doctor", "Says which native library is found, with its ABI, backends and memory, or every path that was tried.") { library };
        command.SetAction(parsed => Run(parsed.GetValue(library)));
        return command;
    }

    private static int Run(string? library)
    {
        Console.WriteLine($"runtime   {RuntimeInformation.FrameworkDescription}, {RuntimeInformation.RuntimeIdentifier}, {Environment.ProcessorCount} cores");
        Console.WriteLine($"memory    {GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / Gib:F1} GiB available to this process");
        var diagnosis = NativeDiagnosis.Run(library);
        if (diagnosis.Library is not { } found)
        {
            Console.WriteLine($"library   not loaded: {diagnosis.Problem}");
            foreach (var attempt in diagnosis.Attempts)
            {
                Console.WriteLine($"  tried   {attempt}");
            }

            return 1;
        }

        Console.WriteLine($"library   {found.Path}");
        Console.WriteLine($"build     {found.BuildInfo}");
        Console.WriteLine($"abi       {found.AbiVersion}");
        foreach (var backend in diagnosis.Backends)
        {
            Console.WriteLine($"{backend.Name,-9} {Describe(backend)}");
        }

        return 0;
    }

    private static string Describe(BackendDiagnosis backend) => backend.Problem is { } problem
        ? $"not available: {problem}"
        : $"{backend.Device}, {backend.Features}, {backend.NumThreads} threads, {backend.FreeMemoryBytes / Gib:F1} of {backend.MemoryBytes / Gib:F1} GiB free";
}
