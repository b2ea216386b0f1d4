// The command-line tool as a process: exit codes, one line on what is wrong, and the demo.
using System.Diagnostics;
using SLoRA.Engine.Tests.Fakes;

namespace SLoRA.Integration.Tests;

public class CommandLineTests
{
    private static readonly string s_base = TestEngine.DemoModel;
    private static readonly string s_adapters = Path.Combine(TestEngine.RepositoryRoot, "assets", "demo-model", "adapters");

    private static async Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "slora.dll"), .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["SLORA_NATIVE_LIBRARY"] = TestHost.NativeLibrary;
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, await output, await error);
    }

    private static void NeedsNative() => Assert.SkipUnless(File.Exists(TestHost.NativeLibrary), $"the native library is not built: {TestHost.NativeLibrary}");

    [Theory]
    [InlineData("Option '--model' is required", "serve")]
    [InlineData("not recognized", "generate", "--model", "x", "--prompt", "y", "--dtype", "int3")]
    [InlineData("Cannot parse argument 'many'", "generate", "--model", "x", "--prompt", "y", "--max-tokens", "many")]
    public async Task Wrong_arguments_give_one_line_and_code_2(string message, params string[] arguments)
    {
        var (code, output, error) = await RunAsync(arguments);
        Assert.Equal(2, code);
        Assert.Empty(output);
        Assert.Single(error.TrimEnd().Split('\n'));
        Assert.Contains(message, error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_missing_model_gives_one_line_and_code_1()
    {
        var (code, _, error) = await RunAsync("generate", "--model", "/does/not/exist", "--prompt", "x");
        Assert.Equal(1, code);
        Assert.Equal("slora: --model is '/does/not/exist', which is not a folder", error.TrimEnd());
    }

    [Fact]
    public async Task The_doctor_lists_what_it_tried_when_the_library_is_not_there()
    {
        var (code, output, _) = await RunAsync("doctor", "--library", "/does/not/exist.so");
        Assert.Equal(1, code);
        Assert.Contains("tried   /does/not/exist.so", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Generate_answers_with_an_adapter()
    {
        NeedsNative();
        var (code, output, error) = await RunAsync("generate", "--model", s_base, "--adapters", s_adapters, "--adapter", "upper", "--prompt", "Input: the old man\nOutput:", "--max-tokens", "16", "--temperature", "0");
        Assert.True(code == 0, error);
        Assert.Equal("THE OLD MAN", output.Trim());
        (code, _, error) = await RunAsync("generate", "--model", s_base, "--adapters", s_adapters, "--adapter", "nobody", "--prompt", "x");
        Assert.Equal(1, code);
        Assert.Contains("slora: No adapter named 'nobody'.", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Adapters_are_listed_with_what_is_wrong_with_the_bad_ones()
    {
        NeedsNative();
        var folder = Directory.CreateTempSubdirectory("slora-cli-");
        Directory.CreateDirectory(Path.Combine(folder.FullName, "broken"));
        File.WriteAllText(Path.Combine(folder.FullName, "broken", "adapter_config.json"), "{}");
        Directory.CreateSymbolicLink(Path.Combine(folder.FullName, "upper"), Path.Combine(s_adapters, "upper"));
        var (code, output, error) = await RunAsync("adapters", "--model", s_base, "--adapters", folder.FullName);
        Assert.Equal(1, code);
        Assert.Contains("upper", output, StringComparison.Ordinal);
        Assert.Contains("q k v o gate up down", output, StringComparison.Ordinal);
        Assert.Contains("broken: ", error, StringComparison.Ordinal);
        folder.Delete(recursive: true);
    }

    [Fact]
    public async Task The_demo_runs_every_adapter_in_one_batch_and_exits()
    {
        NeedsNative();
        var (code, output, error) = await RunAsync("demo", "--model", s_base, "--adapters", s_adapters, "--urls", "http://127.0.0.1:0", "--once");
        Assert.True(code == 0, error);
        foreach (var text in new[] { "(none)", "LIFE OFF", "asked mother", "DCCLVI", "122", "Freetown is the capital of Sierra Leone.", "19 requests in one batch", "0 kv", "with 18 adapters" })
        {
            Assert.Contains(text, output, StringComparison.Ordinal);
        }

        // It has ended, and with it its server.
        Assert.DoesNotContain("serving at", output, StringComparison.Ordinal);
    }
}
