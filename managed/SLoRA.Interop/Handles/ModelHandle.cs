// The native model's owner: destroys it once, when nobody holds the handle any more.
using System.Runtime.InteropServices;
using SLoRA.Interop.Native;

namespace SLoRA.Interop.Handles;

/// <summary>Owns a <c>slora_model*</c>.</summary>
internal sealed unsafe class ModelHandle : SafeHandle
{
    public ModelHandle(OpaqueModel* model)
        : base(0, ownsHandle: true) => SetHandle((nint)model);

    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        NativeMethods.ModelDestroy((OpaqueModel*)handle);
        return true;
    }
}
