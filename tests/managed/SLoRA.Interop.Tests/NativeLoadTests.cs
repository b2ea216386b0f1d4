// Loading models and adapters, the log sink and the backend probe over the real library.

using System.Collections.Concurrent;
using SLoRA.Interop.Native;

namespace SLoRA.Interop.Tests;

public sealed class NativeLoadTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void A_model_says_what_it_is()
    {
        using NativeModel model = NativeTestLibrary.LoadModel();

        Assert.Equal("LlamaForCausalLM", model.Info.Architecture.ToString());
        Assert.Equal((int)NativeBackend.Host, model.Info.Backend);
    }

    [Fact]
    public void A_missing_model_names_the_path()
    {
        NativeTestLibrary.Require();
        NativeModelLoadOptions options = NativeTestLibrary.ModelOptions with { Path = "/nowhere/größe-模型" };

        ModelLoadException e = Assert.Throws<ModelLoadException>(() => NativeModel.Load(options, null, Token));

        Assert.Equal((int)NativeStatus.ErrorIo, e.Status);
        Assert.Contains("/nowhere/größe-模型", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Progress_ends_at_the_total()
    {
        NativeTestLibrary.Require();
        Recorder recorder = new();

        using NativeModel model = NativeModel.Load(NativeTestLibrary.ModelOptions, recorder, Token);

        NativeLoadProgress last = recorder.Seen.Last();
        Assert.True(last.TotalBytes > 0);
        Assert.Equal(last.TotalBytes, last.DoneBytes);
    }

    [Fact]
    public void A_cancelled_load_throws_what_cancellation_throws()
    {
        NativeTestLibrary.Require();
        using CancellationTokenSource source = new();
        source.Cancel();

        Assert.Throws<OperationCanceledException>(
            () => NativeModel.Load(NativeTestLibrary.ModelOptions, progress: null, source.Token));
    }

    [Fact]
    public void An_adapter_loads_pins_and_unloads()
    {
        using NativeModel model = NativeTestLibrary.LoadModel();
        using NativeEngine engine = NativeTestLibrary.CreateEngine(model);
        NativeAdapter adapter = NativeTestLibrary.LoadAdapter(engine, new NativeAdapterLoadOptions { SyntheticLoraRank = 8 });

        adapter.SetPinned(true);

        Assert.NotEqual(0ul, adapter.Id);
        Assert.Equal((8u, (byte)1), (adapter.GetInfo().MaxLoraRank, adapter.GetInfo().Pinned));
        NativeAdapterWeight[] weights = [new() { AdapterId = adapter.Id, Weight = 1 }];
        Assert.True(engine.TryCreateSequence(1, [1, 2], weights, 0, new NativeSampling()));
        adapter.Dispose();
        Assert.Throws<ObjectDisposedException>(() => adapter.GetInfo());
    }

    [Fact]
    public void Adapters_share_one_host_image()
    {
        using NativeModel model = NativeTestLibrary.LoadModel();
        using NativeEngine engine = NativeTestLibrary.CreateEngine(model);
        NativeAdapter first = NativeTestLibrary.LoadAdapter(engine, new NativeAdapterLoadOptions { SyntheticLoraRank = 8 });

        using NativeAdapter second = NativeTestLibrary.LoadAdapter(engine, new NativeAdapterLoadOptions { ShareImageOf = first });

        Assert.NotEqual(first.Id, second.Id);
        Assert.Equal(first.GetInfo().ImageBytes, engine.GetCounters().HostAdapterBytes);
        first.Dispose();
        Assert.Equal(second.GetInfo().ImageBytes, engine.GetCounters().HostAdapterBytes);
        Assert.Throws<ObjectDisposedException>(() => NativeTestLibrary.LoadAdapter(engine, new NativeAdapterLoadOptions { ShareImageOf = first }));
    }

    [Fact]
    public void An_adapter_needs_files_or_a_rank()
    {
        using NativeModel model = NativeTestLibrary.LoadModel();
        using NativeEngine engine = NativeTestLibrary.CreateEngine(model);

        SLoRAException io = Assert.Throws<SLoRAException>(
            () => NativeTestLibrary.LoadAdapter(engine, new NativeAdapterLoadOptions { Path = "/nowhere" }));
        Assert.Equal((int)NativeStatus.ErrorIo, io.Status);
        Assert.Throws<SLoRAException>(() => NativeTestLibrary.LoadAdapter(engine, new NativeAdapterLoadOptions()));
    }

    [Fact]
    public void Parents_may_be_disposed_first()
    {
        NativeModel model = NativeTestLibrary.LoadModel();
        NativeEngine engine = NativeTestLibrary.CreateEngine(model);
        NativeAdapter adapter = NativeTestLibrary.LoadAdapter(engine, new NativeAdapterLoadOptions { SyntheticLoraRank = 4 });

        model.Dispose();
        engine.Dispose();
        adapter.Dispose();
        adapter.Dispose();
    }

    [Fact]
    public void Log_lines_reach_the_sink_and_its_exceptions_go_nowhere()
    {
        NativeTestLibrary.Require();
        ConcurrentQueue<(NativeLogLevel Level, string Line)> lines = new();
        try
        {
            NativeLog.SetSink(
                (level, line) =>
                {
                    lines.Enqueue((level, line));
                    throw new InvalidOperationException("a sink that throws");
                },
                NativeLogLevel.Debug);
            // A library that chooses the backend says which one it took.
            NativeModelLoadOptions options = NativeTestLibrary.ModelOptions with { Backend = NativeBackend.Auto };
            using NativeModel model = NativeModel.Load(options, progress: null, Token);
        }
        finally
        {
            NativeLog.SetSink(null);
        }

        Assert.NotEmpty(lines);
        Assert.All(lines, l => Assert.True(Enum.IsDefined(l.Level)));
    }

    [Fact]
    public void The_host_backend_answers_with_its_threads()
    {
        NativeTestLibrary.Require();

        NativeBackendInfo info = NativeBackends.Probe(NativeBackend.Host);

        Assert.True(info.NumThreads > 0);
        Assert.NotEqual("", info.DeviceName.ToString());
    }

    [Fact]
    public void The_library_cannot_be_changed_once_it_is_loaded()
    {
        NativeTestLibrary.Require();

        Assert.Throws<InvalidOperationException>(
            () => NativeLibraryLoader.Configure(new NativeLibrarySearch { LibraryPath = "/elsewhere/libslora.so" }));
        Assert.Equal(NativeConstants.AbiVersionMajor, NativeLibraryLoader.Load().AbiVersion.Major);
    }

    private sealed class Recorder : IProgress<NativeLoadProgress>
    {
        public ConcurrentQueue<NativeLoadProgress> Seen { get; } = new();

        public void Report(NativeLoadProgress value) => Seen.Enqueue(value);
    }
}
