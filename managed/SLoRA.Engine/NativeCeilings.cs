// What a backend can do at best, as the library measures it.
using SLoRA.Interop;
using SLoRA.Interop.Native;

namespace SLoRA.Engine;

internal static class NativeCeilings
{
    /// Bytes read and written a second by a copy within the device, and copied a second from pinned host memory to it.
    public static (double CopyBytesPerSecond, double UploadBytesPerSecond) MeasureCopies(NativeOptions options, long copyBytes, long uploadBytes, int rounds)
    {
        var measured = Measure(options, ComputeDtype.Bf16, rounds, copyBytes, uploadBytes, (0, 0, 0));
        return (measured.CopyBytesPerSecond, measured.UploadBytesPerSecond);
    }

    /// Seconds of y [m, n] = x [m, k] W [n, k]^T as a step computes it.
    public static double MeasureMatmul(NativeOptions options, ComputeDtype dtype, int rounds, (int M, int N, int K) shape) =>
        Measure(options, dtype, rounds, 0, 0, shape).MatmulSeconds;

    private static NativeMeasurement Measure(NativeOptions options, ComputeDtype dtype, int rounds, long copyBytes, long uploadBytes, (int M, int N, int K) shape)
    {
        NativeLibraryLoader.Configure(new NativeLibrarySearch { LibraryPath = options.LibraryPath, Directories = [.. options.SearchDirectories] });
        var query = NativeMeasureOptions.Create();
        query.Backend = (int)options.Backend;
        query.DeviceIdx = options.DeviceIndex;
        query.NumThreads = options.NumThreads;
        query.ComputeDtype = (int)dtype;
        query.NumRounds = (uint)rounds;
        query.CopyBytes = (ulong)copyBytes;
        query.UploadBytes = (ulong)uploadBytes;
        query.MatmulM = (uint)shape.M;
        query.MatmulN = (uint)shape.N;
        query.MatmulK = (uint)shape.K;
        return NativeBackends.Measure(query);
    }
}
