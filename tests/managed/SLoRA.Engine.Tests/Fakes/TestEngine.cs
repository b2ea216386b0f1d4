// A whole SLoRAEngine over the fake native engine, with the demo model's tokenizer.
using Microsoft.Extensions.Logging.Abstractions;
using SLoRA.Engine.Native;
using SLoRA.Engine.Text;
using SLoRA.Tokenizers;

namespace SLoRA.Engine.Tests.Fakes;

internal sealed class TestEngine : IAsyncDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("slora-test-");

    private TestEngine(FakeNativeEngine native, SLoRAEngine engine)
    {
        Native = native;
        Engine = engine;
    }

    public static string RepositoryRoot { get; } = FindRoot();

    public static string DemoModel { get; } = Path.Combine(RepositoryRoot, "assets", "demo-model", "base");

    private static readonly Lazy<ModelText> s_text = new(() => ModelText.Read(DemoModel!));

    public static ITokenizer Tokenizer => s_text.Value.Tokenizer;

    public FakeNativeEngine Native { get; }

    public SLoRAEngine Engine { get; }

    public string Folder => _folder.FullName;

    public static TestEngine Start(NativeGeometry? geometry = null, SchedulerOptions? scheduler = null, Func<FakeSequence, int>? nextToken = null, TimeProvider? time = null, IAdapterResolver? resolver = null)
    {
        var native = new FakeNativeEngine(geometry);
        native.NextToken = nextToken ?? native.NextToken;
        var engine = new SLoRAEngine(Parts(native, scheduler ?? new SchedulerOptions(), time ?? TimeProvider.System) with { Resolvers = resolver is null ? [] : [resolver] });
        engine.Start();
        return new TestEngine(native, engine);
    }

    public static EngineParts Parts(FakeNativeEngine native, SchedulerOptions scheduler, TimeProvider time) => new()
    {
        Native = native,
        Tokenizer = Tokenizer,
        ModelTemplate = s_text.Value.ChatTemplate,
        Folders = s_text.Value,
        Info = Describe(native.Geometry),
        Scheduler = scheduler,
        Time = time,
        Loggers = NullLoggerFactory.Instance,
    };

    /// A folder that looks like an adapter's; with `bad` its load fails.
    public string MakeAdapterFolder(string name, bool bad = false)
    {
        var folder = Path.Combine(Folder, name);
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), "{}");
        if (bad)
        {
            File.WriteAllText(Path.Combine(folder, "bad"), string.Empty);
        }

        return folder;
    }

    public Task<AdapterInfo> LoadAdapterAsync(string name) => Engine.Adapters.LoadAsync(new AdapterSource(name, MakeAdapterFolder(name)));

    public async Task<List<GenerationChunk>> GenerateAsync(GenerationRequest request, CancellationToken ct = default)
    {
        var chunks = new List<GenerationChunk>();
        await foreach (var chunk in Engine.GenerateAsync(request, ct))
        {
            chunks.Add(chunk);
        }

        return chunks;
    }

    /// Waits until nothing is held: no sequence, no KV page.
    public async Task AssertAllFreeAsync()
    {
        for (var i = 0; i < 500 && Engine.GetStatistics() is { } now && (now.KvPages > 0 || now.Running > 0 || now.Queued > 0); i++)
        {
            await Task.Delay(10);
        }

        var statistics = Engine.GetStatistics();
        Assert.Equal((0, 0, 0), (statistics.KvPages, statistics.Running, statistics.Queued));
        Assert.Equal(statistics.TotalPages, statistics.FreePages + statistics.AdapterPages);
    }

    public async ValueTask DisposeAsync()
    {
        Native.StepGate.Set();
        await Engine.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    private static EngineInfo Describe(NativeGeometry geometry) => new()
    {
        ModelName = "base",
        ModelPath = DemoModel,
        Architecture = "LlamaForCausalLM",
        Backend = "host",
        ComputeDtype = "f32",
        NativeBuild = "fake",
        TotalPages = geometry.NumPages,
        TokensPerPage = geometry.TokensPerPage,
        PageBytes = geometry.PageBytes,
        MaxBatchTokens = geometry.MaxBatchTokens,
        MaxBatchRows = geometry.MaxBatchRows,
        Limits = new RequestLimits(geometry.MaxContext, geometry.VocabSize, geometry.MaxLogprobs, 64),
    };

    private static string FindRoot()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "SLoRA.sln")))
        {
            folder = Path.GetDirectoryName(folder) ?? throw new DirectoryNotFoundException("no SLoRA.sln above the tests");
        }

        return folder;
    }
}
