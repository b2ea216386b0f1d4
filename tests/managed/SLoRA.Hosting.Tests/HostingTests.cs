// The engine inside a generic host: options, life, chat client, health, meters. Over the fake native engine.
using System.Diagnostics.Metrics;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using SLoRA.Engine.Tests.Fakes;

namespace SLoRA.Hosting.Tests;

public class HostingTests
{
    private static IHost Build(FakeNativeEngine native, Action<IServiceCollection, ISLoRABuilder>? more = null, Dictionary<string, string?>? configuration = null)
    {
        var builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Logging.ClearProviders();
        builder.Configuration.AddInMemoryCollection(configuration ?? new() { ["SLoRA:Model:Path"] = TestEngine.DemoModel });
        builder.Services.AddSingleton<IEngineFactory>(new FakeFactory(native));
        var slora = builder.Services.AddSLoRA(builder.Configuration.GetSection("SLoRA"));
        builder.Services.AddHealthChecks().AddSLoRA();
        more?.Invoke(builder.Services, slora);
        return builder.Build();
    }

    private static async Task<HealthReport> HealthAsync(IHost host) => await host.Services.GetRequiredService<HealthCheckService>().CheckHealthAsync();

    [Fact]
    public async Task Wrong_options_stop_the_start_and_are_all_named()
    {
        var configuration = new Dictionary<string, string?>
        {
            ["SLoRA:Memory:PageTokens"] = "24",
            ["SLoRA:Scheduler:MaxQueue"] = "0",
            ["SLoRA:Native:NumThreads"] = "-3",
        };
        using var host = Build(new FakeNativeEngine(), configuration: configuration);
        var error = await Assert.ThrowsAsync<OptionsValidationException>(() => host.StartAsync());
        foreach (var message in new[] { "Model.Path: a folder with the model is needed", "Memory.PageTokens is 24; it must be a power of two", "Scheduler.MaxQueue is 0; it must be in [1, 1000000]", "Native.NumThreads is -3; it must be in [0, 256]" })
        {
            Assert.Contains(message, error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Configuration_and_code_fill_the_options_in()
    {
        var configuration = new Dictionary<string, string?>
        {
            ["SLoRA:Model:Path"] = TestEngine.DemoModel,
            ["SLoRA:Model:Dtype"] = "F32",
            ["SLoRA:Native:Backend"] = "host",
            ["SLoRA:Adapters:Directories:0"] = "/a",
            ["SLoRA:Adapters:Entries:0:Name"] = "x",
            ["SLoRA:Adapters:Entries:0:Path"] = "/x",
            ["SLoRA:Scheduler:PrefillChunk"] = "64",
        };
        using var host = Build(new FakeNativeEngine(), (_, slora) => slora.AddAdapter("y", "/y", adapter => adapter.Pinned = true).AddAdapterDirectory("/b"), configuration);
        var options = host.Services.GetRequiredService<IOptions<SLoRAOptions>>().Value;
        Assert.Equal((ComputeDtype.F32, ComputeBackend.Host, 64), (options.Model.Dtype, options.Native.Backend, options.Scheduler.PrefillChunk));
        Assert.Equal(["/a", "/b"], options.Adapters.Directories);
        Assert.Equal([("x", false), ("y", true)], options.Adapters.Entries.Select(entry => (entry.Name, entry.Pinned)));
    }

    [Fact]
    public async Task The_engine_is_loaded_before_services_start_and_freed_after_they_stop()
    {
        var native = new FakeNativeEngine();
        var probe = new StartProbe();
        using var host = Build(native, (services, _) => services.AddHostedService(provider => probe.With(provider)));
        Assert.Equal(HealthStatus.Unhealthy, (await HealthAsync(host)).Entries["slora_ready"].Status);
        await host.StartAsync();
        Assert.Equal(EngineState.Ready, probe.StateAtStart);
        Assert.Equal(HealthStatus.Healthy, (await HealthAsync(host)).Status);
        await host.StopAsync();
        Assert.True(native.IsDisposed);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Services_may_ask_for_the_engine_or_a_client_in_their_constructors(bool engineFirst)
    {
        // Both orders of registration: the services may be constructed before the engine's own.
        var native = new FakeNativeEngine();
        var factory = new FakeFactory(native);
        var builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Logging.ClearProviders();
        builder.Services.AddSingleton<IEngineFactory>(factory);
        if (!engineFirst)
        {
            AddGreedy(builder.Services);
        }

        var slora = builder.Services.AddSLoRA(options => options.Model.Path = TestEngine.DemoModel);
        slora.AddChatClient();
        slora.AddKeyedChatClient("a");
        if (engineFirst)
        {
            AddGreedy(builder.Services);
        }

        using var host = builder.Build();
        await host.StartAsync();
        var services = host.Services.GetServices<IHostedService>().ToArray();
        var takesEngine = services.OfType<TakesEngine>().Single();
        Assert.Equal(3, await takesEngine.Tokens);
        Assert.Equal(4, await services.OfType<TakesClient>().Single().Tokens);
        Assert.Equal(5, await services.OfType<TakesSource>().Single().Tokens);
        Assert.Same(host.Services.GetRequiredService<SLoRAEngine>(), takesEngine.Engine);
        Assert.Equal(1, factory.Loads);
        await host.StopAsync();
        Assert.True(native.IsDisposed);
    }

    [Fact]
    public async Task A_client_made_before_the_start_knows_its_names_and_waits_for_the_engine()
    {
        var native = new FakeNativeEngine();
        using var host = Build(native, (_, slora) => slora.AddChatClient());
        var client = host.Services.GetRequiredService<IChatClient>();
        Assert.Equal("base", client.GetService<ChatClientMetadata>()!.DefaultModelId);
        Assert.Null(client.GetService<SLoRAEngine>());
        Assert.Null(host.Services.GetRequiredService<EngineHost>().EngineOrNull);
        await host.StartAsync();
        Assert.NotNull(client.GetService<SLoRAEngine>());
        Assert.Equal(2, (await client.GetResponseAsync("Hello", new ChatOptions { MaxOutputTokens = 2 })).Usage!.OutputTokenCount);
        await host.StopAsync();
    }

    [Fact]
    public async Task A_load_that_fails_in_a_constructor_ends_the_start_with_its_error()
    {
        var factory = new FakeFactory(new FakeNativeEngine()) { Error = new SLoRAException(-201, "no such folder") };
        var builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Logging.ClearProviders();
        builder.Services.AddSingleton<IEngineFactory>(factory);
        builder.Services.AddSLoRA(options => options.Model.Path = TestEngine.DemoModel);
        builder.Services.AddHostedService<TakesEngine>();
        using var host = builder.Build();
        var error = await Assert.ThrowsAsync<SLoRAException>(() => host.StartAsync());
        Assert.Equal("no such folder", error.Message);
        Assert.Equal(1, factory.Loads);
    }

    private static void AddGreedy(IServiceCollection services)
    {
        services.AddHostedService<TakesEngine>();
        services.AddHostedService<TakesClient>();
        services.AddHostedService<TakesSource>();
    }

    [Fact]
    public async Task Stopping_lets_running_requests_end_and_cuts_those_that_take_too_long()
    {
        var native = new FakeNativeEngine { StepTime = TimeSpan.FromMilliseconds(1) };
        using var host = Build(native);
        await host.StartAsync();
        var engine = host.Services.GetRequiredService<SLoRAEngine>();
        var running = engine.GenerateAsync(new GenerationRequest { Prompt = "x", MaxOutputTokens = 100 }).ToListAsync();
        while (engine.GetStatistics().Running == 0)
        {
            await Task.Delay(1);
        }

        await host.StopAsync();
        Assert.Equal(100, (await running).Count);

        native = new FakeNativeEngine { StepTime = TimeSpan.FromMilliseconds(20) };
        using var second = Build(native);
        await second.StartAsync();
        engine = second.Services.GetRequiredService<SLoRAEngine>();
        running = engine.GenerateAsync(new GenerationRequest { Prompt = "x", MaxOutputTokens = 400 }).ToListAsync();
        while (engine.GetStatistics().Running == 0)
        {
            await Task.Delay(1);
        }

        using var patience = new CancellationTokenSource(TimeSpan.FromMilliseconds(200));
        await second.StopAsync(patience.Token);
        await Assert.ThrowsAsync<SLoRAException>(async () => await running);
    }

    [Fact]
    public async Task The_chat_client_maps_options_and_reports_usage()
    {
        var native = new FakeNativeEngine();
        using var host = Build(native, (_, slora) =>
        {
            slora.AddChatClient();
            slora.AddKeyedChatClient("a");
        });
        await host.StartAsync();
        var engine = host.Services.GetRequiredService<SLoRAEngine>();
        var folder = Directory.CreateTempSubdirectory("slora-chat-");
        await engine.Adapters.LoadAsync(new AdapterSource("a", folder.FullName));
        var client = host.Services.GetRequiredService<IChatClient>();
        var options = new ChatOptions { MaxOutputTokens = 7, Temperature = 0, TopK = 5, Seed = -1, Instructions = "Be brief." };
        var fromBase = await client.GetResponseAsync([new ChatMessage(ChatRole.User, "Hello")], options);
        Assert.Equal(7, fromBase.Usage!.OutputTokenCount);
        Assert.Equal(ChatFinishReason.Length, fromBase.FinishReason);
        Assert.Equal("base", fromBase.ModelId);

        options.ModelId = "a";
        var byOption = await client.GetResponseAsync([new ChatMessage(ChatRole.User, "Hello")], options);
        options.ModelId = null;
        var keyed = await host.Services.GetRequiredKeyedService<IChatClient>("a").GetResponseAsync([new ChatMessage(ChatRole.User, "Hello")], options);
        Assert.Equal(byOption.Text, keyed.Text);
        Assert.NotEqual(fromBase.Text, keyed.Text);
        Assert.Equal("slora", client.GetService<ChatClientMetadata>()!.ProviderName);
        await host.StopAsync();
        folder.Delete();
    }

    public static TheoryData<ChatOptions, string> Refused() => new()
    {
        { new ChatOptions { Tools = [AIFunctionFactory.Create(() => 1, "f")] }, "tools are not supported" },
        { new ChatOptions { ResponseFormat = ChatResponseFormat.Json }, "response format" },
        { new ChatOptions { AdditionalProperties = new() { [SLoRAChatClient.AdapterScaleKey] = 2.0 } }, "the base model has no adapter to scale" },
        { new ChatOptions { ModelId = "base", AdditionalProperties = new() { [SLoRAChatClient.AdapterScaleKey] = "much" } }, "must be a number" },
        { new ChatOptions { Temperature = -1 }, "temperature is -1" },
    };

    [Theory]
    [MemberData(nameof(Refused), DisableDiscoveryEnumeration = true)]
    public async Task The_chat_client_refuses_what_it_cannot_do(ChatOptions options, string message)
    {
        await using var test = TestEngine.Start();
        using var client = new SLoRAChatClient(test.Engine, null);
        var error = await Assert.ThrowsAsync<RequestInvalidException>(() => client.GetResponseAsync([new ChatMessage(ChatRole.User, "x")], options));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_fault_makes_both_checks_unhealthy()
    {
        var native = new FakeNativeEngine { SubmitError = new SLoRAException(-301, "the device was lost") };
        using var host = Build(native);
        await host.StartAsync();
        var engine = host.Services.GetRequiredService<SLoRAEngine>();
        await Assert.ThrowsAsync<SLoRAException>(async () => await engine.GenerateAsync(new GenerationRequest { Prompt = "x" }).ToListAsync());
        var report = await HealthAsync(host);
        Assert.All(report.Entries.Values, entry => Assert.Equal(HealthStatus.Unhealthy, entry.Status));
        Assert.Equal("Faulted", report.Entries["slora_ready"].Data["state"]);
        await host.StopAsync();
    }

    [Fact]
    public async Task Meters_count_requests_and_pages()
    {
        using var host = Build(new FakeNativeEngine());
        var factory = host.Services.GetRequiredService<IMeterFactory>();
        using var duration = new MetricCollector<double>(factory, SLoRAMeters.MeterName, "gen_ai.server.request.duration");
        using var firstToken = new MetricCollector<double>(factory, SLoRAMeters.MeterName, "gen_ai.server.time_to_first_token");
        using var pages = new MetricCollector<long>(factory, SLoRAMeters.MeterName, "slora.memory.pages");
        await host.StartAsync();
        var engine = host.Services.GetRequiredService<SLoRAEngine>();
        await engine.GenerateAsync(new GenerationRequest { Prompt = "x", MaxOutputTokens = 3 }).ToListAsync();
        var measured = Assert.Single(duration.GetMeasurementSnapshot());
        Assert.Equal("base", measured.Tags["gen_ai.request.model"]);
        Assert.True(firstToken.LastMeasurement!.Value <= measured.Value);
        pages.RecordObservableInstruments();
        Assert.Equal(256, pages.GetMeasurementSnapshot().Sum(measurement => measurement.Value));
        await host.StopAsync();
    }

    [Fact]
    public void Adapter_labels_are_capped()
    {
        var labels = new AdapterLabel(2);
        Assert.Equal(["a", "b", "other", "a"], new[] { "a", "b", "c", "a" }.Select(labels.For));
    }

    private sealed class FakeFactory(FakeNativeEngine native) : IEngineFactory
    {
        public int Loads { get; private set; }

        public Exception? Error { get; init; }

        public async Task<SLoRAEngine> LoadAsync(SLoRAOptions options, CancellationToken ct)
        {
            Loads++;
            await Task.Delay(20, ct);
            if (Error is not null)
            {
                throw Error;
            }

            var engine = new SLoRAEngine(TestEngine.Parts(native, options.Scheduler, TimeProvider.System));
            engine.Start();
            return engine;
        }
    }

    private sealed class StartProbe : IHostedService
    {
        private IServiceProvider? _services;

        public EngineState? StateAtStart { get; private set; }

        public StartProbe With(IServiceProvider services)
        {
            _services = services;
            return this;
        }

        public Task StartAsync(CancellationToken cancellationToken)
        {
            StateAtStart = _services!.GetRequiredService<SLoRAEngine>().State;
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }

    private sealed class TakesEngine(SLoRAEngine engine) : BackgroundService
    {
        private readonly TaskCompletionSource<int> _tokens = new();

        public SLoRAEngine Engine { get; } = engine;

        public Task<int> Tokens => _tokens.Task;

        protected override async Task ExecuteAsync(CancellationToken stoppingToken)
        {
            var chunks = await Engine.GenerateAsync(new GenerationRequest { Prompt = "x", MaxOutputTokens = 3 }, stoppingToken).ToListAsync(stoppingToken);
            _tokens.SetResult(chunks.Count);
        }
    }

    private sealed class TakesClient([FromKeyedServices("a")] IChatClient adapter, IChatClient client) : BackgroundService
    {
        private readonly TaskCompletionSource<long?> _tokens = new();

        public Task<long?> Tokens => _tokens.Task;

        protected override async Task ExecuteAsync(CancellationToken stoppingToken)
        {
            Assert.Equal("a", adapter.GetService<ChatClientMetadata>()!.DefaultModelId);
            var answer = await client.GetResponseAsync("x", new ChatOptions { MaxOutputTokens = 4 }, stoppingToken);
            _tokens.SetResult(answer.Usage!.OutputTokenCount);
        }
    }

    private sealed class TakesSource(ISLoRAEngineSource source) : BackgroundService
    {
        private readonly TaskCompletionSource<int> _tokens = new();

        public Task<int> Tokens => _tokens.Task;

        protected override async Task ExecuteAsync(CancellationToken stoppingToken)
        {
            var engine = await source.GetAsync(stoppingToken);
            _tokens.SetResult((await engine.GenerateAsync(new GenerationRequest { Prompt = "x", MaxOutputTokens = 5 }, stoppingToken).ToListAsync(stoppingToken)).Count);
        }
    }
}
