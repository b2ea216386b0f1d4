// One revision of one adapter as a checked, disposable object.

using System.Text;
using SLoRA.Interop.Handles;
using SLoRA.Interop.Native;

namespace SLoRA.Interop;

/// <summary>
/// One revision of one LoRA adapter. Safe to use from any thread. Disposing unloads it: new sequences can no longer name it,
/// sequences that hold it run on.
/// </summary>
public sealed unsafe class NativeAdapter : IDisposable
{
    private readonly AdapterHandle _handle;

    private NativeAdapter(AdapterHandle handle)
    {
        _handle = handle;
        Id = GetInfo().AdapterId;
    }

    /// <summary>The identity of this revision: what sequences and prefetches name.</summary>
    public ulong Id { get; }

    /// <summary>Reads an adapter and packs its host image. Blocks on the disk.</summary>
    /// <param name="engine">The engine whose model it belongs to.</param>
    /// <param name="options">What to read.</param>
    /// <param name="progress">Told the bytes done about 20 times a second, on a pool thread; must not throw.</param>
    /// <param name="cancellationToken">Ends the load.</param>
    /// <returns>The adapter; it becomes resident with the first plan that uses or prefetches it.</returns>
    /// <exception cref="AdapterIncompatibleException">It does not fit the model, or uses what is not implemented.</exception>
    /// <exception cref="OutOfDeviceMemoryException">The host budget is spent, or it needs more pages than the pool has.</exception>
    /// <exception cref="SLoRAException">A file could not be read, or an argument was refused.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public static NativeAdapter Load(
        NativeEngine engine,
        NativeAdapterLoadOptions options,
        IProgress<NativeLoadProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(engine);
        ArgumentNullException.ThrowIfNull(options);
        cancellationToken.ThrowIfCancellationRequested();
        using LoadWatch watch = new(progress, cancellationToken);
        using HandleLease lease = new(engine.Handle);
        using HandleLease shared = new(options.ShareImageOf?._handle);
        byte[]? path = options.Path is null ? null : Encoding.UTF8.GetBytes(options.Path);
        NativeError error = NativeError.Create();
        fixed (byte* pathBytes = path)
        {
            NativeAdapterOptions native = NativeAdapterOptions.Create();
            native.SyntheticLoraRank = checked((uint)options.SyntheticLoraRank);
            native.Path = pathBytes;
            native.PathBytes = (ulong)(path?.Length ?? 0);
            native.SyntheticSeed = options.SyntheticSeed;
            native.SyntheticModules = options.SyntheticModules;
            native.Pinned = options.Pinned ? (byte)1 : (byte)0;
            native.Progress = watch.Progress;
            native.ShareImageOf = (OpaqueAdapter*)shared.Pointer;
            OpaqueAdapter* adapter = NativeMethods.AdapterLoad((OpaqueEngine*)lease.Pointer, &native, &error);
            if (adapter is null)
            {
                StatusErrors.Throw(error.Status, in error, NativeOperation.LoadAdapter, cancellationToken);
            }

            return new NativeAdapter(new AdapterHandle(adapter));
        }
    }

    /// <summary>What it is and where it is now.</summary>
    /// <returns>A picture of this moment.</returns>
    public NativeAdapterInfo GetInfo()
    {
        using HandleLease lease = new(_handle);
        NativeAdapterInfo info = NativeAdapterInfo.Create();
        NativeError error = NativeError.Create();
        StatusErrors.ThrowIfFailed(NativeMethods.AdapterGetInfo((OpaqueAdapter*)lease.Pointer, &info, &error), in error);
        return info;
    }

    /// <summary>Pins or unpins it; takes effect with the next plan.</summary>
    /// <param name="pinned">Whether it stays resident once it is.</param>
    public void SetPinned(bool pinned)
    {
        using HandleLease lease = new(_handle);
        NativeError error = NativeError.Create();
        int status = NativeMethods.AdapterSetPinned((OpaqueAdapter*)lease.Pointer, pinned ? (byte)1 : (byte)0, &error);
        StatusErrors.ThrowIfFailed(status, in error);
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();
}
