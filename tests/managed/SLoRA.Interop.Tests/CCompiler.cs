// Builds the tiny libraries that the loader tests need; broken libraries cannot be committed as files and stay portable.

using System.Diagnostics;

namespace SLoRA.Interop.Tests;

internal static class CCompiler
{
    /// <summary>Compiles a shared library from one source text.</summary>
    public static string Library(TemporaryFolder folder, string fileName, string source, params string[] arguments)
    {
        string code = folder.Write(fileName + ".c", source);
        string output = folder.File(fileName);
        using Process gcc = Process.Start(new ProcessStartInfo("gcc", ["-shared", "-fPIC", "-o", output, code, .. arguments])
        {
            RedirectStandardError = true,
        })!;
        string errors = gcc.StandardError.ReadToEnd();
        gcc.WaitForExit();
        Assert.True(gcc.ExitCode == 0, $"gcc {code}: {errors}");
        return output;
    }

    /// <summary>A library that says it implements an ABI version and has nothing else.</summary>
    public static string LibraryOfVersion(TemporaryFolder folder, uint version, string fileName = "libslora.so") =>
        Library(folder, fileName, $"unsigned slora_abi_version(void) {{ return {version}u; }}\n");
}
