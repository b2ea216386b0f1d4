// A `slora worker` as users start it.
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace SLoRA.Integration.Tests;

internal sealed class RankProcess : IDisposable
{
    private readonly Process _process;
    private readonly Task<string> _output;
    private readonly Task<string> _error;

    private RankProcess(Process process)
    {
        _process = process;
        _output = process.StandardOutput.ReadToEndAsync();
        _error = process.StandardError.ReadToEndAsync();
    }

    public static RankProcess Start(int rank, string address, string? secret, params string[] more)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "slora.dll"), "worker", "--rank", $"{rank}", "--join", address, "--threads", "1", .. more])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["SLORA_NATIVE_LIBRARY"] = TestHost.NativeLibrary;
        start.Environment.Remove(TensorParallelOptions.SecretVariable);
        if (secret is not null)
        {
            start.Environment[TensorParallelOptions.SecretVariable] = secret;
        }

        return new RankProcess(Process.Start(start)!);
    }

    /// An address that nobody listens at just now.
    public static string FreeAddress()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return $"127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}";
    }

    public void Kill() => _process.Kill();

    /// Exit code and what it wrote to the error stream, once it has ended.
    public async Task<(int Code, string Error)> EndAsync()
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        await _process.WaitForExitAsync(patience.Token);
        await _output;
        return (_process.ExitCode, (await _error).Trim());
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
        }

        _process.Dispose();
    }
}
