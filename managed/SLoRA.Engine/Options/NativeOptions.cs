// Options of the native library.
using System.ComponentModel.DataAnnotations;

namespace SLoRA;

/// <summary>Options of the native library and its backend.</summary>
public sealed class NativeOptions
{
    /// <summary>Where to compute. Never falls back from a backend that was asked for.</summary>
    public ComputeBackend Backend { get; set; } = ComputeBackend.Auto;

    /// <summary>The library file itself; null: it is searched for.</summary>
    public string? LibraryPath { get; set; }

    /// <summary>Folders to search before the usual ones.</summary>
    public IList<string> SearchDirectories { get; } = [];

    /// <summary>CUDA device.</summary>
    [Range(0, 1023)]
    public int DeviceIndex { get; set; }

    /// <summary>Host compute threads; 0: one a core.</summary>
    [Range(0, 256)]
    public int NumThreads { get; set; }

    /// <summary>true: walk the whole pool after each step. For tests.</summary>
    public bool CheckEveryStep { get; set; }
}
