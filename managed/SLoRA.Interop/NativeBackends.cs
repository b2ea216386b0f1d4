// What backends offer and how fast they are, asked without a model.
using SLoRA.Interop.Native;

namespace SLoRA.Interop;

/// <summary>What this machine offers.</summary>
public static unsafe class NativeBackends
{
    /// <summary>Asks what a backend offers, without allocating on it.</summary>
    /// <param name="backend">The backend; Auto resolves as a model load would.</param>
    /// <returns>Device, memory and features.</returns>
    /// <exception cref="SLoRAException">It is not available; the message lists every path tried.</exception>
    public static NativeBackendInfo Probe(NativeBackend backend)
    {
        NativeLibraryLoader.LoadHandle();
        NativeBackendInfo info = NativeBackendInfo.Create();
        NativeError error = NativeError.Create();
        StatusErrors.ThrowIfFailed(NativeMethods.BackendProbe((int)backend, &info, &error), in error);
        return info;
    }

    /// <summary>Measures what a backend can do at best, alone on it; see <c>slora_backend_measure</c>.</summary>
    /// <param name="options">What to measure: <c>NativeMeasureOptions.Create() with { ... }</c>.</param>
    /// <returns>Medians; zeros for what was left out.</returns>
    /// <exception cref="OutOfDeviceMemoryException">What it needs does not fit.</exception>
    /// <exception cref="SLoRAException">A size is outside its limits, or the backend is not available.</exception>
    public static NativeMeasurement Measure(in NativeMeasureOptions options)
    {
        NativeLibraryLoader.LoadHandle();
        NativeMeasurement measured = NativeMeasurement.Create();
        NativeError error = NativeError.Create();
        fixed (NativeMeasureOptions* native = &options)
        {
            StatusErrors.ThrowIfFailed(NativeMethods.BackendMeasure(native, &measured, &error), in error);
        }

        return measured;
    }

    /// <summary>The layout table of the loaded library, to compare with <see cref="AbiLayout.Expected"/>.</summary>
    /// <returns>Its rows in its order.</returns>
    public static IReadOnlyList<AbiLayoutRow> ReadLayout()
    {
        NativeLibraryLoader.LoadHandle();
        List<AbiLayoutRow> rows = [];
        for (ulong i = 0; i < NativeMethods.LayoutCount(); i++)
        {
            NativeLayoutEntry* entry = NativeMethods.LayoutGet(i);
            string? field = entry->FieldName is null ? null : Utf8Text.FromStatic(entry->FieldName);
            rows.Add(new AbiLayoutRow(Utf8Text.FromStatic(entry->StructName), field, entry->OffsetBytes, entry->SizeBytes));
        }

        return rows;
    }
}
