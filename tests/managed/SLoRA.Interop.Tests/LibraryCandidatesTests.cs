// The order of places, without touching a loader.

using SLoRA.Interop.Loading;

namespace SLoRA.Interop.Tests;

public sealed class LibraryCandidatesTests : IDisposable
{
    private static readonly string s_file = ProbeEnvironment.FileName;
    private static readonly string s_runtime = Path.Combine("runtimes", ProbeEnvironment.PortableRuntimeIdentifier, "native");
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void The_option_comes_before_the_variable_and_either_stands_alone()
    {
        ProbeEnvironment environment = Environment(variable: "/from/variable/libslora.so");

        Assert.Equal(
            ["/from/option/libslora.so"],
            LibraryCandidates.Of(new NativeLibrarySearch { LibraryPath = "/from/option/libslora.so" }, environment));
        Assert.Equal(["/from/variable/libslora.so"], LibraryCandidates.Of(new NativeLibrarySearch(), environment));
    }

    [Fact]
    public void Places_come_in_the_documented_order()
    {
        _folder.Write("SLoRA.sln", "");
        NativeLibrarySearch search = new() { Directories = ["/given"] };

        IReadOnlyList<string> candidates = LibraryCandidates.Of(search, Environment(variable: null));

        string app = _folder.File("bin/app");
        string[] expected =
        [
            Path.Combine("/given", s_file),
            Path.Combine(app, s_file),
            Path.Combine(app, s_runtime, s_file),
            Path.Combine(_folder.Path, "out", "native", "release", "lib", s_file),
            Path.Combine("/packages", "slora.native", "1.2.3", s_runtime, s_file),
            s_file,
        ];
        Assert.Equal(expected, candidates);
    }

    [Fact]
    public void Outside_a_clone_there_is_no_development_folder()
    {
        IReadOnlyList<string> candidates = LibraryCandidates.Of(new NativeLibrarySearch(), Environment(variable: null));

        Assert.DoesNotContain(candidates, c => c.Contains(Path.Combine("out", "native"), StringComparison.Ordinal));
    }

    private ProbeEnvironment Environment(string? variable) => new(variable, [_folder.File("bin/app")], "/packages", "1.2.3");
}
