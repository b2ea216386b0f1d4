// The server as `slora serve` builds it, on a free port: over the fake native engine, or over the real one with the demo
// model and its adapters.
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using SLoRA.Engine.Native;
using SLoRA.Engine.Tests.Fakes;
using SLoRA.Hosting;

namespace SLoRA.Integration.Tests;

internal sealed class TestHost : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("slora-http-");

    private TestHost(WebApplication app, FakeNativeEngine? native)
    {
        _app = app;
        Native = native;

        // Disposing a response closes its connection at once, instead of reading on for two seconds.
        Client = new HttpClient(new SocketsHttpHandler { MaxResponseDrainSize = 0 }) { BaseAddress = Address, Timeout = TimeSpan.FromMinutes(2) };
    }

    public static string NativeLibrary { get; } =
        Environment.GetEnvironmentVariable("SLORA_NATIVE_LIBRARY") ?? Path.Combine(TestEngine.RepositoryRoot, "out", "native", "release", "lib", "libslora.so");

    public FakeNativeEngine? Native { get; }

    public Uri Address => new(_app.Urls.First());

    public HttpClient Client { get; }

    public SLoRAEngine Engine => _app.Services.GetRequiredService<SLoRAEngine>();

    public static Task<TestHost> StartAsync(bool real) => real ? StartRealAsync() : StartFakeAsync();

    public static async Task<TestHost> StartFakeAsync(NativeGeometry? geometry = null, SchedulerOptions? scheduler = null, Func<FakeSequence, int>? nextToken = null, SLoRAServerOptions? server = null)
    {
        var native = new FakeNativeEngine(geometry);
        native.NextToken = nextToken ?? native.NextToken;
        return new TestHost(await StartAsync(services => services.AddSingleton<IEngineFactory>(new FakeFactory(native, scheduler ?? new())), _ => { }, server), native);
    }

    public async Task<string> LoadAdapterAsync(string name)
    {
        var folder = MakeAdapterFolder(name);
        await Engine.Adapters.LoadAsync(new AdapterSource(name, folder));
        return folder;
    }

    public string MakeAdapterFolder(string name)
    {
        var folder = Path.Combine(_folder.FullName, name);
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), "{}");
        return folder;
    }

    public async Task<(int Status, JsonElement Body)> PostAsync(string path, string json)
    {
        using var content = new StringContent(json, Encoding.UTF8, "application/json");
        using var response = await Client.PostAsync(new Uri(path, UriKind.Relative), content);
        var text = await response.Content.ReadAsStringAsync();
        return ((int)response.StatusCode, text.StartsWith('{') ? JsonDocument.Parse(text).RootElement : JsonSerializer.SerializeToElement(text));
    }

    public async Task<JsonElement> GetAsync(string path) => await Client.GetFromJsonAsync<JsonElement>(path);

    /// The server answers, and nobody holds a page, a slot or a place in the queue.
    public async Task AssertServingAndFreeAsync()
    {
        var (status, body) = await PostAsync("/v1/completions", """{"model":"base","prompt":"Hello","max_tokens":3,"temperature":0,"ignore_eos":true}""");
        Assert.Equal(200, status);
        Assert.Equal(3, body.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        for (var i = 0; i < 500 && Engine.GetStatistics() is { } now && (now.KvPages > 0 || now.Running > 0 || now.Queued > 0); i++)
        {
            await Task.Delay(10);
        }

        var statistics = Engine.GetStatistics();
        Assert.Equal((0, 0, 0), (statistics.KvPages, statistics.Running, statistics.Queued));
        Assert.Equal(statistics.TotalPages, statistics.FreePages + statistics.AdapterPages);
        await Engine.CheckAsync();
    }

    public async ValueTask DisposeAsync()
    {
        Native?.StepGate.Set();
        Client.Dispose();
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(10));
        await _app.StopAsync(patience.Token);
        await _app.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    public static async Task<TestHost> StartRealAsync(Action<SLoRAOptions>? adjust = null)
    {
        Assert.SkipUnless(File.Exists(NativeLibrary), $"the native library is not built: {NativeLibrary}");
        void Configure(SLoRAOptions options)
        {
            options.Model.Path = TestEngine.DemoModel;
            options.Model.Dtype = ComputeDtype.F32;
            options.Native.LibraryPath = NativeLibrary;
            options.Native.CheckEveryStep = true;
            options.Native.NumThreads = 1;
            options.Memory.PoolBytes = 64 << 20;
            options.Adapters.Directories.Add(Path.Combine(TestEngine.RepositoryRoot, "assets", "demo-model", "adapters"));
            options.Adapters.Strict = true;
            adjust?.Invoke(options);
        }

        return new TestHost(await StartAsync(_ => { }, Configure, null), null);
    }

    private static async Task<WebApplication> StartAsync(Action<IServiceCollection> services, Action<SLoRAOptions> configure, SLoRAServerOptions? server)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Logging.ClearProviders();
        builder.Services.Configure<KestrelServerOptions>(kestrel => kestrel.Limits.MaxRequestBodySize = 64 << 20);
        services(builder.Services);
        builder.Services.AddSLoRA(options =>
        {
            options.Model.Path = TestEngine.DemoModel;
            configure(options);
        });
        var app = builder.Build();
        app.MapSLoRAOpenAI("/v1", server);
        await app.StartAsync();
        return app;
    }

    private sealed class FakeFactory(FakeNativeEngine native, SchedulerOptions scheduler) : IEngineFactory
    {
        public Task<SLoRAEngine> LoadAsync(SLoRAOptions options, CancellationToken ct)
        {
            var engine = new SLoRAEngine(TestEngine.Parts(native, scheduler, TimeProvider.System));
            engine.Start();
            return Task.FromResult(engine);
        }
    }
}
