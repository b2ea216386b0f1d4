// Tries the candidates in order and keeps what the loader says of each. NativeLibrary.Load and not TryLoad: only the
// exception names the missing dependency.

using System.Runtime.InteropServices;
using SLoRA.Interop.Native;

namespace SLoRA.Interop.Loading;

internal static unsafe class LibraryProbe
{
    private const string VersionExport = "slora_abi_version";
    private static readonly string[] s_fileNames = ["libslora.so", "slora.dll", "libslora.dylib"];

    /// <summary>Loads the first library found and checks its contract.</summary>
    /// <exception cref="NativeLibraryException">No candidate could be loaded.</exception>
    /// <exception cref="AbiMismatchException">The library found implements another contract.</exception>
    public static (nint Handle, string Path, uint AbiVersion) Load(IReadOnlyList<string> candidates)
    {
        List<string> attempts = [];
        Exception? last = null;
        foreach (string path in candidates)
        {
            try
            {
                nint handle = NativeLibrary.Load(path);
                return (handle, path, CheckAbi(handle, path));
            }
            catch (Exception e) when (e is DllNotFoundException or BadImageFormatException or EntryPointNotFoundException)
            {
                last = e;
                attempts.Add(Attempt(path, LibraryFormat.Mismatch(path) ?? LoaderWords(e)));
                if (File.Exists(path))
                {
                    break; // A broken library is to be mended; one found further on would hide it.
                }
            }
        }

        throw new NativeLibraryException(Describe(attempts, OtherRuntimes(candidates)), attempts, last);
    }

    private static uint CheckAbi(nint handle, string path)
    {
        if (!NativeLibrary.TryGetExport(handle, VersionExport, out nint export))
        {
            NativeLibrary.Free(handle);
            throw new EntryPointNotFoundException($"loaded, but it exports no {VersionExport}: not a SLoRA library");
        }

        uint actual = ((delegate* unmanaged[Cdecl]<uint>)export)();
        bool isUsable = actual >> 16 == NativeConstants.AbiVersionMajor && actual >= NativeConstants.AbiVersion;
        if (!isUsable)
        {
            NativeLibrary.Free(handle);
            throw new AbiMismatchException(path, NativeConstants.AbiVersion, actual);
        }

        return actual;
    }

    // The loader's words often begin with the path already.
    private static string Attempt(string path, string words) =>
        words.StartsWith(path + ":", StringComparison.Ordinal) ? words : $"{path}: {words}";

    // The runtime puts two sentences of advice before the loader's own line(s); the latter name the cause.
    private static string LoaderWords(Exception e)
    {
        string[] lines = e.Message.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        return e is DllNotFoundException && lines.Length > 1 ? string.Join("; ", lines.Skip(1)) : e.Message.Trim();
    }

    // A package that has the library, but for another system or processor than this process.
    private static string[] OtherRuntimes(IReadOnlyList<string> candidates)
    {
        IEnumerable<string> folders = candidates.Select(c => Path.GetDirectoryName(Path.GetDirectoryName(Path.GetDirectoryName(c))))
            .OfType<string>().Where(d => Path.GetFileName(d) == LibraryCandidates.RuntimesFolder && Directory.Exists(d)).Distinct();
        return [.. folders.SelectMany(Directory.GetDirectories)
            .SelectMany(d => s_fileNames.Select(f => Path.Combine(d, LibraryCandidates.NativeFolder, f)))
            .Where(f => File.Exists(f) && !candidates.Contains(f))];
    }

    private static string Describe(List<string> attempts, string[] otherRuntimes) =>
        $"The native library ({ProbeEnvironment.FileName}) could not be loaded. Tried, in this order:\n" +
        string.Concat(attempts.Select(a => $"  {a}\n")) +
        (otherRuntimes is [] ? "" : $"This process is {ProbeEnvironment.PortableRuntimeIdentifier}; found for other runtimes only:\n") +
        string.Concat(otherRuntimes.Select(f => $"  {f}\n")) +
        $"Set {ProbeEnvironment.Variable} to the file, reference the package SLoRA.Native, or build it: ./build.sh build";
}
