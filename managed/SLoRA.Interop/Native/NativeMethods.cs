// Ties the generated imports to our own loader, once, before the first of them is called.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

[assembly: DisableRuntimeMarshalling]

namespace SLoRA.Interop.Native;

internal static unsafe partial class NativeMethods
{
    static NativeMethods() =>
        NativeLibrary.SetDllImportResolver(
            typeof(NativeMethods).Assembly,
            static (name, _, _) => name == Library ? NativeLibraryLoader.LoadHandle() : 0);
}
