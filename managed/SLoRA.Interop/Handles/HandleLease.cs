// Keeps a native object alive during one call: a handle disposed on another thread is destroyed when the call ends.

using System.Runtime.InteropServices;

namespace SLoRA.Interop.Handles;

internal readonly unsafe ref struct HandleLease : IDisposable
{
    private readonly SafeHandle? _handle;

    /// <param name="handle">null: none, and the pointer is null.</param>
    /// <exception cref="ObjectDisposedException">The handle is closed.</exception>
    public HandleLease(SafeHandle? handle)
    {
        bool added = false;
        handle?.DangerousAddRef(ref added);
        _handle = handle;
    }

    public void* Pointer => _handle is null ? null : (void*)_handle.DangerousGetHandle();

    public void Dispose() => _handle?.DangerousRelease();
}
