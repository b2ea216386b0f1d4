// The committed bindings are what the headers give, and the generator gives it every time.

using SLoRA.BindingsGenerator;
using SLoRA.BindingsGenerator.Clang;

namespace SLoRA.Interop.Tests;

public sealed class BindingsGeneratorTests
{
    private static readonly string s_header = Path.Combine(RepositoryPaths.Interop, "include", "slora", "slora.h");

    [Fact]
    public void Committed_files_are_current()
    {
        StringWriter report = new();

        int rc = Program.Run(["--check", "--interop", RepositoryPaths.Interop], report);

        Assert.True(rc == 0, $"run ./build.sh bindings and commit the result:\n{report}");
    }

    [Fact]
    public void Headers_obey_the_sheet()
    {
        StringWriter report = new();

        Assert.True(Program.Run(["--lint", "--interop", RepositoryPaths.Interop], report) == 0, report.ToString());
    }

    [Fact]
    public void Two_runs_give_the_same_text() =>
        Assert.Equal(BindingsOutput.Render(HeaderReader.Read(s_header)), BindingsOutput.Render(HeaderReader.Read(s_header)));

    [Fact]
    public void Check_reports_changed_missing_and_left_over_files()
    {
        using TemporaryFolder folder = new();
        CopyHeaders(folder);
        Program.Run(["--interop", folder.Path], TextWriter.Null);
        File.AppendAllText(folder.File("generated/NativeEnums.g.cs"), "// edited\n");
        File.Delete(folder.File("abi/exports.golden"));
        folder.Write("generated/Old.g.cs", "");
        StringWriter report = new();

        int rc = Program.Run(["--check", "--interop", folder.Path], report);

        Assert.Equal(1, rc);
        Assert.Contains("generated/NativeEnums.g.cs:", report.ToString(), StringComparison.Ordinal);
        Assert.Contains("abi/exports.golden: missing", report.ToString(), StringComparison.Ordinal);
        Assert.Contains("generated/Old.g.cs: not written by the generator", report.ToString(), StringComparison.Ordinal);
        Assert.Contains("3 findings", report.ToString(), StringComparison.Ordinal);
    }

    private static void CopyHeaders(TemporaryFolder folder)
    {
        foreach (string header in Directory.GetFiles(Path.GetDirectoryName(s_header)!))
        {
            folder.Write($"include/slora/{Path.GetFileName(header)}", File.ReadAllText(header));
        }
    }
}
