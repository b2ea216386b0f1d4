// slora bench as a process: what is wrong is said in one line before anything is loaded, and nothing is left behind.
using System.Diagnostics;

namespace SLoRA.Integration.Tests;

public sealed class BenchCommandTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("slora-bench-test-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Theory]
    [InlineData("--batches has '0'; it must be numbers of at least 1", "step", "--synthetic", "tiny", "--batches", "0")]
    [InlineData("--set is '8,x'; it must be S1, S2, S4 or lora_ranks such as 64,32,16,8", "--synthetic", "tiny", "--set", "8,x")]
    [InlineData("--others is -1; it must be in [0, 511]: below --max-sequences, 512", "cold", "--synthetic", "tiny", "--others", "-1")]
    [InlineData("--others is 8; it must be in [0, 7]: below --max-sequences, 8", "cold", "--synthetic", "tiny", "--others", "8", "--max-sequences", "8")]
    public async Task A_wrong_value_is_refused_in_one_line_with_its_limit(string message, params string[] arguments)
    {
        var (code, output, error) = await RunAsync(["bench", .. arguments]);
        Assert.Equal((1, string.Empty, $"slora: {message}"), (code, output, error.TrimEnd()));
        Assert.Empty(_folder.GetFileSystemInfos());
    }

    [Theory]
    [InlineData("--json")]
    [InlineData("--html")]
    [InlineData("--json", "step")]
    [InlineData("--json", "cold")]
    [InlineData("--json", "tp")]
    [InlineData("--out", "trace")]
    public async Task A_file_that_cannot_be_written_is_named_before_anything_is_measured(string option, params string[] command)
    {
        string[] engine = command is ["trace" or "tp"] ? [] : ["--synthetic", "tiny"];
        var missing = Path.Combine(_folder.FullName, "nowhere", "x.json");
        foreach (var (path, problem) in new[] { (_folder.FullName, "which is a folder; a file is needed"), (missing, "whose folder does not exist") })
        {
            var (code, output, error) = await RunAsync(["bench", .. command, .. engine, option, path]);
            Assert.Equal((1, string.Empty, $"slora: {option} is '{path}', {problem}"), (code, output, error.TrimEnd()));
        }

        Assert.Empty(_folder.GetFileSystemInfos());
    }

    // The folder of temporary files is the test's own: what a command leaves is seen.
    private async Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "slora.dll"), .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["SLORA_NATIVE_LIBRARY"] = TestHost.NativeLibrary;
        start.Environment["TMPDIR"] = _folder.FullName;
        start.Environment["DOTNET_EnableDiagnostics"] = "0";
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, await output, await error);
    }
}
