// Text in both directions over the ABI: fixed zero-terminated arrays and static C strings in, pointer and length out.

using System.Runtime.InteropServices;
using System.Text;

namespace SLoRA.Interop.Native;

internal static unsafe class Utf8Text
{
    /// <summary>The text before the first zero byte, or all of it.</summary>
    public static string Decode(ReadOnlySpan<byte> bytes)
    {
        int end = bytes.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? bytes : bytes[..end]);
    }

    /// <summary>A zero-terminated string in static storage of the library.</summary>
    public static string FromStatic(byte* text) => Marshal.PtrToStringUTF8((nint)text) ?? "";
}
