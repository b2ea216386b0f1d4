// The one native library of the process: found once, checked once, never replaced. A failed attempt is not remembered, so
// that a caller may mend the configuration and try again.

using SLoRA.Interop.Loading;
using SLoRA.Interop.Native;

namespace SLoRA.Interop;

/// <summary>
/// Loads the native library. Order: <see cref="NativeLibrarySearch.LibraryPath"/> alone, or the environment variable
/// SLORA_NATIVE_LIBRARY alone; else <see cref="NativeLibrarySearch.Directories"/>, the application's folder and its
/// runtimes/{rid}/native, out/native/release/lib of a clone, the NuGet package of this version, the system's search.
/// The first file that exists is the one used: if it cannot be loaded, that is an error.
/// </summary>
public static class NativeLibraryLoader
{
    private static readonly Lock s_gate = new();
    private static NativeLibrarySearch s_search = new();
    private static (nint Handle, string Path, uint AbiVersion)? s_loaded;

    /// <summary>Says where to look. Must come before the first use of the library.</summary>
    /// <param name="search">The places.</param>
    /// <exception cref="InvalidOperationException">The library is loaded already, and these places are other ones.</exception>
    public static void Configure(NativeLibrarySearch search)
    {
        ArgumentNullException.ThrowIfNull(search);
        lock (s_gate)
        {
            if (s_loaded is { } loaded && !LibraryCandidates.Of(search, ProbeEnvironment.Current()).Contains(loaded.Path))
            {
                throw new InvalidOperationException(
                    $"The native library is already loaded from '{loaded.Path}'; one process uses one library.");
            }

            s_search = search;
        }
    }

    /// <summary>Loads the library if it is not loaded yet.</summary>
    /// <returns>What was loaded.</returns>
    /// <exception cref="NativeLibraryException">It could not be loaded; the message lists every place tried.</exception>
    /// <exception cref="AbiMismatchException">It implements another version of the contract.</exception>
    public static unsafe NativeLibraryInfo Load()
    {
        LoadHandle();
        (_, string path, uint version) = s_loaded!.Value;
        return new NativeLibraryInfo(
            path, new Version((int)(version >> 16), (int)(version & 0xFFFF)), Utf8Text.FromStatic(NativeMethods.BuildInfo()));
    }

    internal static nint LoadHandle()
    {
        lock (s_gate)
        {
            s_loaded ??= LibraryProbe.Load(LibraryCandidates.Of(s_search, ProbeEnvironment.Current()));
            return s_loaded.Value.Handle;
        }
    }
}
