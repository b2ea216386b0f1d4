// A headless Chromium over its DevTools protocol: opens a page, sets the colour scheme, evaluates, takes pictures.
using System.Diagnostics;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace SLoRA.Bench.Tests;

internal sealed class Browser : IAsyncDisposable
{
    private static readonly string[] s_names = ["chromium", "chromium-browser", "google-chrome"];
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly Process _process;
    private readonly DirectoryInfo _profile;
    private readonly ClientWebSocket _socket = new();
    private int _lastId;

    private Browser(Process process, DirectoryInfo profile)
    {
        _process = process;
        _profile = profile;
    }

    /// The program, or null where none is installed.
    public static string? Find() => (Environment.GetEnvironmentVariable("PATH") ?? string.Empty).Split(':')
        .SelectMany(folder => s_names.Select(name => Path.Combine(folder, name))).FirstOrDefault(File.Exists);

    public static async Task<Browser> StartAsync(string program)
    {
        var profile = Directory.CreateTempSubdirectory("slora-chromium-");
        var start = new ProcessStartInfo(program)
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
            ArgumentList =
            {
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars", "--remote-debugging-port=0", $"--user-data-dir={profile.FullName}", "about:blank",
            },
        };
        var browser = new Browser(Process.Start(start)!, profile);
        await browser.ConnectAsync();
        return browser;
    }

    public async Task OpenAsync(string path, int width, int height, bool isDark)
    {
        await CallAsync("Emulation.setDeviceMetricsOverride", new JsonObject { ["width"] = width, ["height"] = height, ["deviceScaleFactor"] = 1, ["mobile"] = false });
        await CallAsync("Emulation.setEmulatedMedia", new JsonObject { ["features"] = new JsonArray(new JsonObject { ["name"] = "prefers-color-scheme", ["value"] = isDark ? "dark" : "light" }) });
        await CallAsync("Page.navigate", new JsonObject { ["url"] = new Uri(path).AbsoluteUri });
        for (var i = 0; i < 200 && await EvaluateAsync("document.readyState + ' ' + document.title") is not "complete SLoRA bench"; i++)
        {
            await Task.Delay(50);
        }
    }

    /// The value of an expression that gives text.
    public async Task<string> EvaluateAsync(string expression)
    {
        var answer = await CallAsync("Runtime.evaluate", new JsonObject { ["expression"] = expression, ["returnByValue"] = true });
        return answer["exceptionDetails"] is { } problem ? throw new InvalidOperationException(problem.ToJsonString()) : answer["result"]!["value"]?.GetValue<string>() ?? string.Empty;
    }

    public async Task TakePictureAsync(string path)
    {
        var answer = await CallAsync("Page.captureScreenshot", new JsonObject { ["format"] = "png", ["captureBeyondViewport"] = true });
        await File.WriteAllBytesAsync(path, Convert.FromBase64String(answer["data"]!.GetValue<string>()));
    }

    public async ValueTask DisposeAsync()
    {
        _socket.Dispose();
        _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync();
        _process.Dispose();
        _profile.Delete(recursive: true);
    }

    // Chromium writes the port it took, and the path of its own socket, into its profile.
    private async Task ConnectAsync()
    {
        var file = Path.Combine(_profile.FullName, "DevToolsActivePort");
        var watch = Stopwatch.StartNew();
        while (!File.Exists(file) || (await File.ReadAllLinesAsync(file)).Length < 2)
        {
            if (_process.HasExited || watch.Elapsed > s_patience)
            {
                throw new InvalidOperationException($"chromium did not start: {(_process.HasExited ? await _process.StandardError.ReadToEndAsync() : "no port after a minute")}");
            }

            await Task.Delay(50);
        }

        var port = (await File.ReadAllLinesAsync(file))[0];
        using var client = new HttpClient();
        using var pages = JsonDocument.Parse(await client.GetStringAsync(new Uri($"http://127.0.0.1:{port}/json")));
        var page = pages.RootElement.EnumerateArray().First(target => target.GetProperty("type").GetString() == "page");
        await _socket.ConnectAsync(new Uri(page.GetProperty("webSocketDebuggerUrl").GetString()!), default);
    }

    private async Task<JsonNode> CallAsync(string method, JsonObject parameters)
    {
        var id = ++_lastId;
        var message = new JsonObject { ["id"] = id, ["method"] = method, ["params"] = parameters };
        using var patience = new CancellationTokenSource(s_patience);
        await _socket.SendAsync(Encoding.UTF8.GetBytes(message.ToJsonString()), WebSocketMessageType.Text, true, patience.Token);
        while (true)
        {
            var answer = await ReceiveAsync(patience.Token);
            if (answer["id"]?.GetValue<int>() == id)
            {
                return answer["result"] ?? throw new InvalidOperationException(answer.ToJsonString());
            }
        }
    }

    private async Task<JsonNode> ReceiveAsync(CancellationToken ct)
    {
        var buffer = new byte[1 << 16];
        using var text = new MemoryStream();
        ValueWebSocketReceiveResult part;
        do
        {
            part = await _socket.ReceiveAsync(buffer.AsMemory(), ct);
            text.Write(buffer, 0, part.Count);
        }
        while (!part.EndOfMessage);
        return JsonNode.Parse(text.ToArray())!;
    }
}
