// The native adapter's owner: unloads it once, when nobody holds the handle any more.
using System.Runtime.InteropServices;
using SLoRA.Interop.Native;

namespace SLoRA.Interop.Handles;

/// <summary>Owns a <c>slora_adapter*</c>.</summary>
internal sealed unsafe class AdapterHandle : SafeHandle
{
    public AdapterHandle(OpaqueAdapter* adapter)
        : base(0, ownsHandle: true) => SetHandle((nint)adapter);

    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        NativeMethods.AdapterUnload((OpaqueAdapter*)handle);
        return true;
    }
}
