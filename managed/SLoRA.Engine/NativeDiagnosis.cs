// What `slora doctor` asks of the native library: where it was looked for, what it is, what its backends offer.
using SLoRA.Interop;
using SLoRA.Interop.Native;

namespace SLoRA.Engine;

internal sealed record NativeDiagnosis(NativeLibraryInfo? Library, string? Problem, IReadOnlyList<string> Attempts, IReadOnlyList<BackendDiagnosis> Backends)
{
    public static NativeDiagnosis Run(string? libraryPath)
    {
        try
        {
            NativeLibraryLoader.Configure(new NativeLibrarySearch { LibraryPath = libraryPath });
            var library = NativeLibraryLoader.Load();
            return new NativeDiagnosis(library, null, [], [BackendDiagnosis.Run(NativeBackend.Host), BackendDiagnosis.Run(NativeBackend.Cuda)]);
        }
        catch (NativeLibraryException error)
        {
            return new NativeDiagnosis(null, error.Message, error.Attempts, []);
        }
        catch (AbiMismatchException error)
        {
            return new NativeDiagnosis(null, error.Message, [], []);
        }
    }

    /// "host" or "cuda": what a load with these options would take.
    public static string ResolveBackend(NativeOptions options)
    {
        NativeLibraryLoader.Configure(new NativeLibrarySearch { LibraryPath = options.LibraryPath, Directories = [.. options.SearchDirectories] });
        return (NativeBackend)NativeBackends.Probe((NativeBackend)options.Backend).Backend == NativeBackend.Cuda ? "cuda" : "host";
    }

    /// What backend "host" or "cuda" of the library in use offers.
    public static BackendDiagnosis Describe(string backend) => BackendDiagnosis.Run(backend == "cuda" ? NativeBackend.Cuda : NativeBackend.Host);
}

internal sealed record BackendDiagnosis(string Name, string? Problem, string Device, string Features, int NumThreads, long MemoryBytes, long FreeMemoryBytes)
{
    public static BackendDiagnosis Run(NativeBackend backend)
    {
        var name = backend == NativeBackend.Cuda ? "cuda" : "host";
        try
        {
            var info = NativeBackends.Probe(backend);
            return new BackendDiagnosis(
                name, null, info.DeviceName.ToString(), info.Features.ToString(), info.NumThreads, (long)info.MemoryBytes, (long)info.FreeMemoryBytes);
        }
        catch (SLoRAException error)
        {
            return new BackendDiagnosis(name, error.Message, string.Empty, string.Empty, 0, 0, 0);
        }
    }
}
