// slora bench as a process: what is wrong is said in one line before anything is loaded, and nothing is left behind.
using System.Diagnostics;

namespace SLoRA.Integration.Tests;

public sealed class BenchCommandTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("slora-bench-test-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Theory]
    [InlineData("--limit-seconds is -5; it must be 0 (all) or more", "trace", "--out", "/dev/null", "--limit-seconds", "-5")]
    [InlineData("--limit-requests is -3; it must be 0 (all) or more", "trace", "--out", "/dev/null", "--limit-requests", "-3")]
    [InlineData("Scheduler.MaxSequences is -4; it must be in [0, 65536]", "--synthetic", "tiny", "--max-sequences", "-4")]
    [InlineData("Scheduler.MaxSequences is 65537; it must be in [0, 65536]", "--synthetic", "tiny", "--max-sequences", "65537")]
    [InlineData("--max-context is -9; it must be 1 or more", "--synthetic", "tiny", "--max-context", "-9")]
    [InlineData("--num-adapters is 3; it must be in [10, 1000000]: the trace names adapters below 10", "--synthetic", "tiny", "--adapters-in-trace", "10", "--num-adapters", "3", "--seconds", "10")]
    [InlineData("--num-adapters is 1000001; it must be in [10, 1000000]: the trace names adapters below 10", "--synthetic", "tiny", "--adapters-in-trace", "10", "--num-adapters", "1000001", "--seconds", "10")]
    [InlineData("Native.NumThreads is 300; it must be in [0, 256]", "--synthetic", "tiny", "--threads", "300")]
    [InlineData("Memory.PoolBytes is -1; it must be at least 0", "cold", "--synthetic", "tiny", "--pool-bytes", "-1")]
    [InlineData("--batches is ''; it must be numbers of at least 1 such as 1,8,32", "step", "--synthetic", "tiny", "--batches", "")]
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
    [InlineData("--adapters", "cold")]
    [InlineData("--adapters", "step")]
    public async Task An_option_that_a_command_has_no_use_for_is_none_of_its_own(string option, string command)
    {
        var (code, _, error) = await RunAsync("bench", command, "--synthetic", "tiny", option, _folder.FullName);
        Assert.Equal(2, code);
        Assert.Contains(option, error, StringComparison.Ordinal);
        Assert.EndsWith($"See 'slora bench {command} --help'.", error.TrimEnd(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--json")]
    [InlineData("--html")]
    [InlineData("--json", "step")]
    [InlineData("--json", "cold")]
    [InlineData("--json", "tp")]
    [InlineData("--out", "trace")]
    [InlineData("--resume", "paper")]
    [InlineData("--html", "paper")]
    [InlineData("--html", "report", "table.json")]
    public async Task A_file_that_cannot_be_written_is_named_before_anything_is_measured(string option, params string[] command)
    {
        string[] engine = command is ["trace" or "tp"] or ["report", ..] ? [] : ["--synthetic", "tiny"];
        var missing = Path.Combine(_folder.FullName, "nowhere", "x.json");
        foreach (var (path, problem) in new[] { (_folder.FullName, "which is a folder; a file is needed"), (missing, "whose folder does not exist") })
        {
            var (code, output, error) = await RunAsync(["bench", .. command, .. engine, option, path]);
            Assert.Equal((1, string.Empty, $"slora: {option} is '{path}', {problem}"), (code, output, error.TrimEnd()));
        }

        Assert.Empty(_folder.GetFileSystemInfos());
    }

    [Fact]
    public async Task What_is_measured_says_how_far_it_is_and_is_written_where_it_was_asked_for()
    {
        Assert.SkipUnless(File.Exists(TestHost.NativeLibrary), $"the native library is not built: {TestHost.NativeLibrary}");
        var path = Path.Combine(_folder.FullName, "cold.json");
        var (code, output, error) = await RunAsync("bench", "cold", "--synthetic", "tiny", "--threads", "1", "--count", "2", "--others", "1", "--pool-bytes", "20000000", "--json", path);
        Assert.True(code == 0, error);
        Assert.Contains("first token, cold", output, StringComparison.Ordinal);
        Assert.Contains("2 of 2 cold adapters", error, StringComparison.Ordinal);
        Assert.Equal([path], _folder.GetFileSystemInfos().Select(file => file.FullName));
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
