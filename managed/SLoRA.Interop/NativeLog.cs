// The library's only callback. The sink is static because the library's is process-wide.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using SLoRA.Interop.Native;

namespace SLoRA.Interop;

/// <summary>Log lines of the native library.</summary>
public static unsafe class NativeLog
{
    private static readonly Lock s_gate = new();
    private static volatile Action<NativeLogLevel, string>? s_sink;

    /// <summary>Sends log lines to a sink, in place of the one before; null silences the library.</summary>
    /// <param name="sink">Called from any thread; must not call into the library. What it throws is dropped.</param>
    /// <param name="minLevel">Lines below it are not formatted at all.</param>
    public static void SetSink(Action<NativeLogLevel, string>? sink, NativeLogLevel minLevel = NativeLogLevel.Info)
    {
        NativeLibraryLoader.LoadHandle();
        lock (s_gate)
        {
            NativeError error = NativeError.Create();
            delegate* unmanaged[Cdecl]<void*, int, byte*, ulong, void> callback = sink is null ? null : &OnLine;
            Action<NativeLogLevel, string>? previous = s_sink;
            s_sink = sink;
            int status = NativeMethods.LogSetSink(callback, null, (int)minLevel, &error);
            if (status < 0)
            {
                s_sink = previous;
                StatusErrors.Throw(status, in error, NativeOperation.Engine);
            }
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnLine(void* userData, int level, byte* message, ulong messageBytes)
    {
        try
        {
            s_sink?.Invoke((NativeLogLevel)level, Encoding.UTF8.GetString(message, checked((int)messageBytes)));
        }
#pragma warning disable CA1031 // An exception must not unwind through native frames, and a log line has nowhere to report to.
        catch (Exception)
        {
        }
#pragma warning restore CA1031
    }
}
