// Finds libclang and the folder of stdint.h/stddef.h that belongs to a compiler. Both come from Debian packages, so what
// is missing is named as a package to install.

using System.Runtime.InteropServices;

namespace SLoRA.BindingsGenerator.Clang;

internal static class ClangToolchain
{
    public const string LibraryVariable = "SLORA_LIBCLANG";
    private const int OldestVersion = 14;
    private const int NewestVersion = 19;
    private static bool s_registered;

    /// <summary>Makes <see cref="ClangNative"/> resolve to SLORA_LIBCLANG, or to the first libclang 14..19 found.</summary>
    public static void Register()
    {
        if (s_registered)
        {
            return;
        }

        s_registered = true;
        NativeLibrary.SetDllImportResolver(
            typeof(ClangNative).Assembly,
            static (name, _, _) => name == ClangNative.Library ? Load() : 0);
    }

    /// <summary>Arguments that make &lt;stdint.h&gt; and &lt;stddef.h&gt; resolve without a C library.</summary>
    public static IReadOnlyList<string> IncludeArguments()
    {
        string? headers = CompilerIncludeDirectories().FirstOrDefault(d => File.Exists(Path.Combine(d, "stdint.h")));
        return headers is null
            ? throw new GeneratorException(
                "no compiler's stdint.h found under /usr/lib/llvm-*/lib/clang/*/include, /usr/lib/clang/*/include or " +
                "/usr/lib/gcc/*/*/include. Install one: apt-get install libclang-common-14-dev")
            : ["-nostdinc", "-isystem", headers];
    }

    private static nint Load()
    {
        List<string> attempts = [];
        foreach (string candidate in LibraryCandidates())
        {
            try
            {
                return NativeLibrary.Load(candidate);
            }
            catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
            {
                attempts.Add($"  {candidate}: {e.Message.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1]}");
            }
        }

        throw new GeneratorException(
            $"libclang not found. Install it (apt-get install libclang1-14) or set {LibraryVariable}. Tried:\n" +
            string.Join('\n', attempts));
    }

    private static IEnumerable<string> LibraryCandidates()
    {
        if (Environment.GetEnvironmentVariable(LibraryVariable) is { Length: > 0 } path)
        {
            return [path]; // Asked for by name: another libclang would be a surprise.
        }

        return Enumerable.Range(OldestVersion, NewestVersion - OldestVersion + 1)
            .SelectMany(v => new[] { $"libclang-{v}.so.1", $"/usr/lib/llvm-{v}/lib/libclang.so.1" })
            .Append("libclang.so.1");
    }

    // Clang's own headers first: under -ffreestanding they stand alone. GCC's do too (stdint-gcc.h).
    private static IEnumerable<string> CompilerIncludeDirectories()
    {
        IEnumerable<string> llvm = Enumerable.Range(OldestVersion, NewestVersion - OldestVersion + 1)
            .SelectMany(v => Subdirectories($"/usr/lib/llvm-{v}/lib/clang"));
        IEnumerable<string> gcc = Subdirectories("/usr/lib/gcc").SelectMany(Subdirectories);
        return llvm.Concat(Subdirectories("/usr/lib/clang")).Concat(gcc).Select(d => Path.Combine(d, "include"));
    }

    private static IEnumerable<string> Subdirectories(string path) =>
        Directory.Exists(path) ? Directory.GetDirectories(path).Order(StringComparer.Ordinal) : [];
}
