// The native engine's owner: destroys it once, when nobody holds the handle any more.
using System.Runtime.InteropServices;
using SLoRA.Interop.Native;

namespace SLoRA.Interop.Handles;

/// <summary>Owns a <c>slora_engine*</c>.</summary>
internal sealed unsafe class EngineHandle : SafeHandle
{
    public EngineHandle(OpaqueEngine* engine)
        : base(0, ownsHandle: true) => SetHandle((nint)engine);

    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        NativeMethods.EngineDestroy((OpaqueEngine*)handle);
        return true;
    }
}
