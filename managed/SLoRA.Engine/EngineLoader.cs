// From options to a running engine: library, model, tokenizer, template, pool, adapters.
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using SLoRA.Engine.Native;
using SLoRA.Engine.Text;
using SLoRA.Interop;
using SLoRA.Interop.Native;
using SLoRA.Tokenizers;

namespace SLoRA.Engine;

internal static class EngineLoader
{
    // Choices of one request take sequences of the same batch; more than these would only wait for each other.
    private const int MaxChoices = 128;

    public static async Task<SLoRAEngine> LoadAsync(
        SLoRAOptions options, IEnumerable<IAdapterResolver> resolvers, IProgress<LoadProgress>? progress, ILoggerFactory? loggers, TimeProvider time, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Validate() is { Count: > 0 } problems)
        {
            throw new ArgumentException(string.Join("; ", problems));
        }

        var engine = await Task.Run(() => Load(options, [.. resolvers, .. OwnResolvers(options.Adapters)], progress, loggers ?? NullLoggerFactory.Instance, time, ct), ct).ConfigureAwait(false);
        try
        {
            await LoadAdaptersAsync(engine, options.Adapters, progress, loggers ?? NullLoggerFactory.Instance, ct).ConfigureAwait(false);
            return engine;
        }
        catch
        {
            await engine.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// The native engine alone, without a scheduler, and what it is: for measurements of single steps.
    public static (INativeEngine Engine, EngineInfo Info) LoadBare(SLoRAOptions options, IProgress<LoadProgress>? progress, CancellationToken ct)
    {
        var library = LoadLibrary(options);
        var native = LoadNative(options, progress, ct);
        return (native, Describe(options, native, library));
    }

    private static NativeLibraryInfo LoadLibrary(SLoRAOptions options)
    {
        NativeLibraryLoader.Configure(new NativeLibrarySearch { LibraryPath = options.Native.LibraryPath, Directories = [.. options.Native.SearchDirectories] });
        return NativeLibraryLoader.Load();
    }

    private static SLoRAEngine Load(SLoRAOptions options, IReadOnlyList<IAdapterResolver> resolvers, IProgress<LoadProgress>? progress, ILoggerFactory loggers, TimeProvider time, CancellationToken ct)
    {
        var library = LoadLibrary(options);
        NativeLogBridge.Connect(loggers);
        var text = ModelText.Read(options.Model.Path, mayLackTokenizer: options.Model.Synthetic);
        var native = LoadNative(options, progress, ct);
        try
        {
            var engine = new SLoRAEngine(new EngineParts
            {
                Native = native,
                Tokenizer = text.Tokenizer,
                ModelTemplate = text.ChatTemplate,
                Folders = text,
                Resolvers = resolvers,
                Info = Describe(options, native, library),
                Scheduler = options.Scheduler,
                Experiment = options.Experiment,
                Time = time,
                Loggers = loggers,
            });
            engine.Start();
            return engine;
        }
        catch
        {
            native.Dispose();
            throw;
        }
    }

    private static InteropEngine LoadNative(SLoRAOptions options, IProgress<LoadProgress>? progress, CancellationToken ct)
    {
        var model = NativeModel.Load(
            new NativeModelLoadOptions
            {
                Path = options.Model.Path,
                Backend = (NativeBackend)options.Native.Backend,
                ComputeDtype = (NativeDtype)options.Model.Dtype,
                DeviceIndex = options.Native.DeviceIndex,
                NumThreads = options.Native.NumThreads,
                Synthetic = options.Model.Synthetic,
                SyntheticSeed = options.Model.SyntheticSeed,
                TensorParallelSize = options.TensorParallel.Size,
                LoraSharding = (NativeLoraSharding)options.TensorParallel.LoraSharding,
                Devices = [.. options.TensorParallel.Devices],
                Listen = options.TensorParallel.Listen,
                Secret = options.TensorParallel.Listen is null ? null : options.TensorParallel.ResolveSecret(),
                JoinMilliseconds = 1000 * options.TensorParallel.JoinLimitSeconds,
                TimeLimitMilliseconds = 1000 * options.TensorParallel.TimeLimitSeconds,
            },
            progress is null ? null : new ByteProgress(progress, "model"),
            ct);
        try
        {
            return new InteropEngine(model, SizesOf(options), progress, ct);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static NativeEngineOptions SizesOf(SLoRAOptions options)
    {
        var sizes = NativeEngineOptions.Create();
        sizes.TokensPerPage = (uint)options.Memory.PageTokens;
        sizes.PoolBytes = (ulong)options.Memory.PoolBytes;
        sizes.HostAdapterBytes = (ulong)options.Memory.HostAdapterBytes;
        sizes.MaxContext = (uint)options.Memory.MaxContext;
        sizes.MaxSequences = (uint)options.Scheduler.MaxSequences;
        sizes.MaxBatchTokens = (uint)options.Scheduler.MaxBatchTokens;
        sizes.MaxBatchRows = (uint)options.Scheduler.MaxBatchRows;
        sizes.EvictionPolicy = (int)options.Memory.Eviction;
        sizes.Recording = (int)options.Recording.When;
        sizes.MaxRecordings = (uint)options.Recording.MaxRecordings;
        sizes.RecordingBytes = (ulong)options.Recording.Bytes;
        var experiment = options.Experiment;
        var rows = options.Scheduler.MaxBatchRows > 0 ? options.Scheduler.MaxBatchRows : options.Scheduler.MaxSequences > 0 ? options.Scheduler.MaxSequences : 256;
        sizes.ExperimentMemory = (int)experiment.Memory;
        sizes.ExperimentLora = (int)experiment.Lora;
        sizes.ExperimentConcurrency = (uint)(experiment.Concurrency > 0 ? experiment.Concurrency : rows);
        sizes.ExperimentMeanAdapterBytes = (ulong)experiment.MeanAdapterBytes;
        sizes.CheckEveryStep = options.Native.CheckEveryStep ? (byte)1 : (byte)0;
        return sizes;
    }

    private static EngineInfo Describe(SLoRAOptions options, InteropEngine native, NativeLibraryInfo library)
    {
        var model = native.ModelInfo;
        var geometry = native.Geometry;
        return new EngineInfo
        {
            ModelName = options.Model.ServedName,
            ModelPath = Path.GetFullPath(options.Model.Path),
            Architecture = model.Architecture.ToString(),
            Backend = (NativeBackend)model.Backend == NativeBackend.Cuda ? "cuda" : "host",
            ComputeDtype = ((NativeDtype)model.ComputeDtype) switch { NativeDtype.F32 => "f32", NativeDtype.F16 => "f16", _ => "bf16" },
            NativeBuild = library.BuildInfo,
            NativePath = library.Path,
            NumParameters = (long)model.NumParameters,
            WeightBytes = (long)model.WeightBytes,
            NumThreads = (int)model.NumThreads,
            TotalPages = geometry.NumPages,
            TokensPerPage = geometry.TokensPerPage,
            PageBytes = geometry.PageBytes,
            MaxBatchTokens = geometry.MaxBatchTokens,
            MaxBatchRows = geometry.MaxBatchRows,
            Limits = new RequestLimits(geometry.MaxContext, geometry.VocabSize, geometry.MaxLogprobs, Math.Min(MaxChoices, geometry.MaxSequences)),
        };
    }

    private static IAdapterResolver[] OwnResolvers(AdapterOptions options) =>
        options.ResolveDirectory is { Length: > 0 } directory ? [new FileSystemAdapterResolver(directory)] : [];

    private static async Task LoadAdaptersAsync(SLoRAEngine engine, AdapterOptions options, IProgress<LoadProgress>? progress, ILoggerFactory loggers, CancellationToken ct)
    {
        foreach (var directory in options.Directories)
        {
            var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(directory));
            await (options.Loading == AdapterLoading.OnUse
                ? engine.Adapters.RegisterDirectoryAsync(full, options.Strict, progress, ct)
                : engine.Adapters.LoadDirectoryAsync(full, options.Strict, progress, ct)).ConfigureAwait(false);
            if (options.Watch)
            {
                engine.Watch(full, TimeSpan.FromSeconds(options.WatchSeconds));
            }
        }

        var logger = loggers.CreateLogger("SLoRA.Engine");
        foreach (var (i, entry) in options.Entries.Index())
        {
            try
            {
                await engine.Adapters.LoadAsync(new AdapterSource(entry.Name, entry.Path) { Pinned = entry.Pinned }, null, ct).ConfigureAwait(false);
            }
            catch (SLoRAException error) when (!options.Strict && !error.IsFatal)
            {
                EngineLog.AdapterFailed(logger, entry.Name, error.Message);
            }

            progress?.Report(new LoadProgress(entry.Name, i + 1, options.Entries.Count));
        }
    }
}
