// A rank after the first, as this process.

using System.Text;
using SLoRA.Interop.Native;

namespace SLoRA.Interop;

/// <summary>A tensor-parallel rank without a scheduler: it does what rank 0 tells.</summary>
public static unsafe class NativeWorker
{
    /// <summary>Joins rank 0, loads this rank's part of its model and follows its engines. Blocks until rank 0 lets go.</summary>
    /// <param name="options">Which rank of whose model.</param>
    /// <exception cref="ModelLoadException">
    /// The rank may not join (secret, version, rank or model are not rank 0's), rank 0 is not there, or the load failed.
    /// </exception>
    /// <exception cref="SLoRAException">A rank was lost; the message names it.</exception>
    /// <exception cref="NativeLibraryException">The native library could not be loaded.</exception>
    public static void Run(NativeWorkerRunOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        NativeLibraryLoader.LoadHandle();
        byte[] join = Encoding.UTF8.GetBytes(options.Join);
        byte[] secret = Encoding.UTF8.GetBytes(options.Secret);
        byte[]? modelPath = options.ModelPath is { } path ? Encoding.UTF8.GetBytes(path) : null;
        NativeError error = NativeError.Create();
        fixed (byte* joinBytes = join, secretBytes = secret, modelPathBytes = modelPath)
        {
            NativeWorkerOptions native = NativeWorkerOptions.Create();
            native.TpRank = (uint)options.TensorParallelRank;
            native.Join = joinBytes;
            native.JoinBytes = (ulong)join.Length;
            native.Secret = secretBytes;
            native.SecretBytes = (ulong)secret.Length;
            native.ModelPath = modelPathBytes;
            native.ModelPathBytes = (ulong)(modelPath?.Length ?? 0);
            native.DeviceIdx = options.DeviceIndex;
            native.NumThreads = options.NumThreads;
            native.JoinMs = (uint)options.JoinMilliseconds;
            native.LimitMs = (uint)options.TimeLimitMilliseconds;
            int status = NativeMethods.WorkerRun(&native, &error);
            StatusErrors.ThrowIfFailed(status, in error, NativeOperation.LoadModel);
        }
    }
}
