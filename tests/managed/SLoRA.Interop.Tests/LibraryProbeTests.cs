// What a user reads when the library cannot be loaded: every case must name the path and the cause.

using System.Runtime.InteropServices;
using SLoRA.Interop.Loading;
using SLoRA.Interop.Native;

namespace SLoRA.Interop.Tests;

public sealed class LibraryProbeTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Missing_files_are_listed_in_order_with_the_loaders_words()
    {
        string[] candidates = [_folder.File("a/libslora.so"), _folder.File("b/libslora.so")];

        NativeLibraryException e = Assert.Throws<NativeLibraryException>(() => LibraryProbe.Load(candidates));

        Assert.Equal(2, e.Attempts.Count);
        Assert.All(candidates.Zip(e.Attempts), pair =>
        {
            Assert.StartsWith(pair.First + ": ", pair.Second, StringComparison.Ordinal);
            Assert.Contains("No such file or directory", pair.Second, StringComparison.Ordinal);
            Assert.Contains(pair.Second, e.Message, StringComparison.Ordinal);
        });
        Assert.Contains("SLORA_NATIVE_LIBRARY", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_text_file_is_called_what_it_is()
    {
        string file = _folder.Write("libslora.so", new string('x', 4096));

        NativeLibraryException e = Assert.Throws<NativeLibraryException>(() => LibraryProbe.Load([file]));

        Assert.Contains("invalid ELF header", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_missing_dependency_is_named()
    {
        string ghost = CCompiler.Library(_folder, "libghost.so", "int ghost(void) { return 1; }\n", "-Wl,-soname,libghost.so.9");
        string library = CCompiler.Library(
            _folder, "libslora.so", "int ghost(void);\nunsigned slora_abi_version(void) { return (unsigned)ghost(); }\n", ghost);
        File.Delete(ghost);

        NativeLibraryException e = Assert.Throws<NativeLibraryException>(() => LibraryProbe.Load([library]));

        Assert.Contains("libghost.so.9: cannot open shared object file", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(183, "linux-arm64")]
    [InlineData(3, "linux-x86")]
    [InlineData(9999, "linux-processor number 9999")]
    public void A_library_for_another_processor_says_which(int machine, string target)
    {
        string library = CCompiler.LibraryOfVersion(_folder, NativeConstants.AbiVersion);
        byte[] bytes = File.ReadAllBytes(library);
        (bytes[18], bytes[19]) = ((byte)machine, (byte)(machine >> 8)); // e_machine
        File.WriteAllBytes(library, bytes);

        NativeLibraryException e = Assert.Throws<NativeLibraryException>(() => LibraryProbe.Load([library]));

        Assert.Equal($"{library}: built for {target}, but this process is linux-x64", Assert.Single(e.Attempts));
        Assert.Contains(e.Attempts[0], e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("MZ", "Windows")]
    [InlineData("\u00CF\u00FA\u00ED\u00FE", "macOS")]
    public void A_library_for_another_system_says_which(string magic, string target)
    {
        string file = _folder.File("libslora.so");
        File.WriteAllBytes(file, [.. magic.Select(c => (byte)c), .. new byte[64]]);

        NativeLibraryException e = Assert.Throws<NativeLibraryException>(() => LibraryProbe.Load([file]));

        Assert.Contains($"{file}: built for {target}, but this process is linux-x64", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_package_for_other_runtimes_only_is_named()
    {
        string other = _folder.Write("runtimes/linux-arm64/native/libslora.so", "other\n");
        string windows = _folder.Write("runtimes/win-x64/native/slora.dll", "other\n");
        string own = _folder.File("runtimes/linux-x64/native/libslora.so");

        NativeLibraryException e = Assert.Throws<NativeLibraryException>(() => LibraryProbe.Load([own]));

        Assert.StartsWith(own + ": ", Assert.Single(e.Attempts), StringComparison.Ordinal);
        Assert.Contains("This process is linux-x64; found for other runtimes only:", e.Message, StringComparison.Ordinal);
        Assert.All([other, windows], path => Assert.Contains(path, e.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void A_library_that_is_not_ours_is_refused()
    {
        string library = CCompiler.Library(_folder, "libslora.so", "int something_else(void) { return 0; }\n");

        NativeLibraryException e = Assert.Throws<NativeLibraryException>(() => LibraryProbe.Load([library]));

        Assert.Contains("exports no slora_abi_version", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_broken_library_is_not_passed_over_for_a_later_one()
    {
        string broken = _folder.Write("first/libslora.so", "broken\n");
        string good = CCompiler.LibraryOfVersion(_folder, NativeConstants.AbiVersion);

        NativeLibraryException e = Assert.Throws<NativeLibraryException>(() => LibraryProbe.Load([broken, good]));

        Assert.Single(e.Attempts);
    }

    [Theory]
    [InlineData(0x0002_0000u, "2.0")] // another major
    [InlineData(0x0000_0009u, "0.9")]
    public void Another_major_version_names_both_versions(uint version, string text)
    {
        string library = CCompiler.LibraryOfVersion(_folder, version);

        AbiMismatchException e = Assert.Throws<AbiMismatchException>(() => LibraryProbe.Load([library]));

        Assert.Equal((NativeConstants.AbiVersion, version, library), (e.ExpectedVersion, e.ActualVersion, e.LibraryPath));
        Assert.Contains($"ABI {text}", e.Message, StringComparison.Ordinal);
        Assert.Contains($"need {NativeConstants.AbiVersionMajor}.{NativeConstants.AbiVersionMinor}", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_higher_minor_version_is_accepted()
    {
        string library = CCompiler.LibraryOfVersion(_folder, NativeConstants.AbiVersion + 3);

        (nint handle, string path, uint version) = LibraryProbe.Load([_folder.File("none/libslora.so"), library]);

        NativeLibrary.Free(handle);
        Assert.Equal((library, NativeConstants.AbiVersion + 3), (path, version));
    }

    [Fact]
    public void A_path_that_is_not_ascii_loads()
    {
        Directory.CreateDirectory(_folder.File("größe 模型"));
        string library = CCompiler.LibraryOfVersion(_folder, NativeConstants.AbiVersion, "größe 模型/libslora.so");

        (nint handle, string path, _) = LibraryProbe.Load([library]);

        NativeLibrary.Free(handle);
        Assert.Equal(library, path);
    }
}
