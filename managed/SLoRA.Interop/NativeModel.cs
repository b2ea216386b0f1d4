// A base model as a checked, disposable object.

using System.Text;
using SLoRA.Interop.Handles;
using SLoRA.Interop.Native;

namespace SLoRA.Interop;

/// <summary>
/// A base model on one backend. Safe to use from any thread. Disposing gives it back; its memory goes when the last engine
/// on it is disposed too.
/// </summary>
public sealed unsafe class NativeModel : IDisposable
{
    private NativeModel(ModelHandle handle)
    {
        Handle = handle;
        Info = ReadInfo(handle);
    }

    /// <summary>What was loaded.</summary>
    public NativeModelInfo Info { get; }

    internal ModelHandle Handle { get; }

    /// <summary>Reads and packs a model; returns when it is ready to use. Blocks on the disk and the device.</summary>
    /// <param name="options">What to read and where to.</param>
    /// <param name="progress">Told the bytes done about 20 times a second, on a pool thread; must not throw.</param>
    /// <param name="cancellationToken">Ends the load.</param>
    /// <returns>The model.</returns>
    /// <exception cref="ModelLoadException">A file, its content, an option or the backend was refused.</exception>
    /// <exception cref="OutOfDeviceMemoryException">It does not fit.</exception>
    /// <exception cref="NativeLibraryException">The native library could not be loaded.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public static NativeModel Load(
        NativeModelLoadOptions options,
        IProgress<NativeLoadProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        cancellationToken.ThrowIfCancellationRequested();
        NativeLibraryLoader.LoadHandle();
        using LoadWatch watch = new(progress, cancellationToken);
        byte[] path = Encoding.UTF8.GetBytes(options.Path);
        byte[]? listen = options.Listen is { } address ? Encoding.UTF8.GetBytes(address) : null;
        byte[]? secret = options.Secret is { } text ? Encoding.UTF8.GetBytes(text) : null;
        int[]? devices = options.Devices.Count > 0 ? [.. options.Devices] : null;
        NativeError error = NativeError.Create();
        fixed (byte* pathBytes = path, listenBytes = listen, secretBytes = secret)
        fixed (int* devicePlaces = devices)
        {
            NativeModelOptions native = NativeModelOptions.Create();
            native.Backend = (int)options.Backend;
            native.Path = pathBytes;
            native.PathBytes = (ulong)path.Length;
            native.ComputeDtype = (int)options.ComputeDtype;
            native.DeviceIdx = options.DeviceIndex;
            native.NumThreads = options.NumThreads;
            native.Synthetic = options.Synthetic ? (byte)1 : (byte)0;
            native.SyntheticSeed = options.SyntheticSeed;
            native.Progress = watch.Progress;
            native.TpSize = (uint)options.TensorParallelSize;
            native.LoraSharding = (int)options.LoraSharding;
            native.TpDevices = devicePlaces;
            native.NumTpDevices = (uint)(devices?.Length ?? 0);
            native.TpListen = listenBytes;
            native.TpListenBytes = (ulong)(listen?.Length ?? 0);
            native.TpSecret = secretBytes;
            native.TpSecretBytes = (ulong)(secret?.Length ?? 0);
            native.TpJoinMs = (uint)options.JoinMilliseconds;
            native.TpLimitMs = (uint)options.TimeLimitMilliseconds;
            OpaqueModel* model = NativeMethods.ModelLoad(&native, &error);
            if (model is null)
            {
                StatusErrors.Throw(error.Status, in error, NativeOperation.LoadModel, cancellationToken);
            }

            return new NativeModel(new ModelHandle(model));
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();

    private static NativeModelInfo ReadInfo(ModelHandle handle)
    {
        using HandleLease lease = new(handle);
        NativeModelInfo info = NativeModelInfo.Create();
        NativeError error = NativeError.Create();
        StatusErrors.ThrowIfFailed(NativeMethods.ModelGetInfo((OpaqueModel*)lease.Pointer, &info, &error), in error);
        return info;
    }
}
