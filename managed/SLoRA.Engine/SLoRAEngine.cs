// The public engine: validates and tokenises on the caller's thread, hands the request to the loop, decodes what comes
// back on the caller's thread again. Everything here is safe for concurrent use.
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using SLoRA.Engine;
using SLoRA.Engine.Catalog;
using SLoRA.Engine.Loop;
using SLoRA.Engine.Native;
using SLoRA.Engine.Text;
using SLoRA.Scheduling.Ablation;
using SLoRA.Scheduling.Planning;
using SLoRA.Tokenizers;

namespace SLoRA;

/// <summary>An engine with a loaded model: generates text for many requests at a time, each with the base model or with
/// adapters of its own. Safe for concurrent use.</summary>
public sealed class SLoRAEngine : IAsyncDisposable
{
    private readonly INativeEngine _native;
    private readonly ITokenizer _tokenizer;
    private readonly PromptEncoder _prompts;
    private readonly AdapterCatalog _catalog;
    private readonly EngineLoop _loop;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Lock _gate = new();
    private ulong _lastRequestId;
    private volatile EngineState _state = EngineState.Ready;
    private readonly List<DirectoryWatch> _watches = [];
    private Task? _disposal;

    internal SLoRAEngine(EngineParts parts)
    {
        _native = parts.Native;
        _tokenizer = parts.Tokenizer;
        _time = parts.Time;
        _logger = parts.Loggers.CreateLogger("SLoRA.Engine");
        Info = parts.Info;
        _prompts = new PromptEncoder(parts.Tokenizer, parts.ModelTemplate);
        _catalog = new AdapterCatalog(_native, parts.Folders, parts.Resolvers, Info.ModelName, _time, _logger);
        var scheduler = new Scheduler(LimitsOf(_native.Geometry, parts.Scheduler), PoliciesOf(parts.Experiment), _time);
        _loop = new EngineLoop(_native, scheduler, parts.Scheduler.MaxQueue, _time, _logger, countsAdapterPages: parts.Experiment.Memory == ExperimentMemory.Unified) { Faulted = _ => _state = EngineState.Faulted };
        EngineLog.EngineReady(_logger, Info.ModelName, Info.Architecture, Info.ComputeDtype, Info.Backend, Info.TotalPages, Info.TokensPerPage, Info.PageBytes);
        if (_native.GetCounters() is { StartRecordings: > 0 } made)
        {
            EngineLog.StepsRecorded(_logger, made.StartRecordings, made.RecordingBytes, made.RecordingTime.TotalSeconds);
        }
    }

    /// <summary>What the engine runs on.</summary>
    public EngineInfo Info { get; }

    /// <summary>Where the engine stands.</summary>
    public EngineState State => _state;

    /// <summary>Why the engine is <see cref="EngineState.Faulted"/>; otherwise null.</summary>
    public Exception? Fault => _loop.Fault;

    /// <summary>The adapters.</summary>
    public IAdapterCatalog Adapters => _catalog;

    /// Told how long each successful read of an adapter took.
    internal Action<TimeSpan>? AdapterRead
    {
        set => _catalog.AdapterRead = value;
    }

    internal EngineLoop Loop => _loop;

    /// Told of each request that ended, on its consumer's thread.
    internal Action<RequestSummary>? RequestEnded { get; set; }

    /// <summary>Loads a model and its adapters, without a host.</summary>
    /// <param name="options">The options.</param>
    /// <param name="progress">Told of the bytes and adapters read; may be null.</param>
    /// <param name="loggers">Where to log; null: nowhere.</param>
    /// <param name="ct">Ends the load.</param>
    /// <exception cref="ArgumentException">An option is outside its limits.</exception>
    /// <exception cref="NativeLibraryException">The native library was not found or does not load.</exception>
    /// <exception cref="ModelLoadException">The model's files are missing, wrong or unsupported.</exception>
    /// <exception cref="AdapterIncompatibleException">An adapter is bad and the options are strict.</exception>
    public static Task<SLoRAEngine> LoadAsync(
        SLoRAOptions options, IProgress<LoadProgress>? progress = null, ILoggerFactory? loggers = null, CancellationToken ct = default) =>
        EngineLoader.LoadAsync(options, [], progress, loggers, TimeProvider.System, ct);

    /// <summary>Loads a model and its adapters, without a host, and asks resolvers for adapters that nobody has registered.</summary>
    /// <param name="options">The options.</param>
    /// <param name="resolvers">Asked in this order, then that of <see cref="AdapterOptions.ResolveDirectory"/>.</param>
    /// <param name="progress">Told of the bytes and adapters read; may be null.</param>
    /// <param name="loggers">Where to log; null: nowhere.</param>
    /// <param name="ct">Ends the load.</param>
    /// <exception cref="ArgumentException">An option is outside its limits.</exception>
    /// <exception cref="NativeLibraryException">The native library was not found or does not load.</exception>
    /// <exception cref="ModelLoadException">The model's files are missing, wrong or unsupported.</exception>
    /// <exception cref="AdapterIncompatibleException">An adapter is bad and the options are strict.</exception>
    public static Task<SLoRAEngine> LoadAsync(
        SLoRAOptions options, IEnumerable<IAdapterResolver> resolvers, IProgress<LoadProgress>? progress = null, ILoggerFactory? loggers = null, CancellationToken ct = default) =>
        EngineLoader.LoadAsync(options, resolvers, progress, loggers, TimeProvider.System, ct);

    /// <summary>Generates. Nothing happens until the first chunk is asked for; ending the enumeration early, or
    /// cancelling, frees what the request holds at once.</summary>
    /// <param name="request">The request.</param>
    /// <param name="ct">Ends the request in any phase: queued, in its prompt or generating.</param>
    /// <exception cref="RequestInvalidException">An option is outside its limits, or the prompt does not fit.</exception>
    /// <exception cref="AdapterNotFoundException">There is no such adapter.</exception>
    /// <exception cref="AdapterIncompatibleException">The adapter had to be read, and its files are missing or wrong.</exception>
    /// <exception cref="OutOfDeviceMemoryException">The adapter had to be read, and the host adapter budget has no room.</exception>
    /// <exception cref="QueueFullException">Too many requests wait.</exception>
    /// <exception cref="SLoRAException">The engine takes no requests or failed.</exception>
    public async IAsyncEnumerable<GenerationChunk> GenerateAsync(GenerationRequest request, [EnumeratorCancellation] CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        ct.ThrowIfCancellationRequested();
        var started = _time.GetTimestamp();
        TimeSpan? firstToken = null;
        GenerationRun? run = null;
        RequestTicket? ticket = null;
        Exception? failure = null;
        var revisions = await AcquireAdaptersAsync(request, ct).ConfigureAwait(false);
        try
        {
            ticket = CreateTicket(request, revisions);
            run = new GenerationRun(ticket, request, _loop, _tokenizer);
            _loop.Submit(ticket);
            using var registration = ct.UnsafeRegister(static state => ((RequestTicket)state!).Stream.Cancel(), ticket);
            while (run.NumOpen > 0)
            {
                // Read before the tokens: those written ahead of an error are handed out before it.
                ct.ThrowIfCancellationRequested();
                var error = ticket.Stream.Error;
                if (run.TryNext() is { } chunk)
                {
                    firstToken ??= _time.GetElapsedTime(started);
                    yield return chunk;
                    continue;
                }

                if (error is not null)
                {
                    throw failure = error;
                }

                await ticket.Stream.WaitAsync().ConfigureAwait(false);
            }
        }
        finally
        {
            if (ticket is not null && run is { NumOpen: > 0 })
            {
                _loop.Cancel(ticket);
                failure ??= new OperationCanceledException();
            }

            Release(revisions);
            RequestEnded?.Invoke(new RequestSummary(AdapterLabel(request), _time.GetElapsedTime(started), firstToken, run?.Usage ?? default, failure));
        }
    }

    /// Runs a request of one choice whose tokens are only counted. Throws what GenerateAsync would before queueing it.
    internal async ValueTask<ObservedRequest> ObserveAsync(GenerationRequest request, ITokenObserver observer)
    {
        var revisions = await AcquireAdaptersAsync(request, CancellationToken.None).ConfigureAwait(false);
        ObservedRequest run;
        RequestTicket ticket;
        try
        {
            run = new ObservedRequest(_loop, revisions, observer);
            ticket = CreateTicket(request, revisions, run);
        }
        catch
        {
            Release(revisions);
            throw;
        }

        run.Begin(ticket);
        return run;
    }

    /// <summary>Throws what <see cref="GenerateAsync"/> would throw for this request before queueing it; loads adapters that
    /// are only registered, as that would.</summary>
    /// <param name="request">The request.</param>
    /// <param name="ct">Ends the wait for adapters.</param>
    /// <exception cref="RequestInvalidException">An option is outside its limits, or the prompt does not fit.</exception>
    /// <exception cref="AdapterNotFoundException">There is no such adapter.</exception>
    /// <exception cref="SLoRAException">The engine takes no requests.</exception>
    public async Task ValidateAsync(GenerationRequest request, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        var revisions = await AcquireAdaptersAsync(request, ct).ConfigureAwait(false);
        try
        {
            CreateTicket(request, revisions);
        }
        finally
        {
            Release(revisions);
        }
    }

    /// <summary>Counters of the engine.</summary>
    public EngineStatistics GetStatistics()
    {
        var pool = ReadCounters();
        var numbers = _loop.Numbers;
        return new EngineStatistics
        {
            State = _state,
            Queued = _loop.NumWaiting,
            Running = pool.NumSequences,
            TotalPages = pool.TotalPages,
            FreePages = pool.FreePages,
            KvPages = pool.KvPages,
            AdapterPages = pool.AdapterPages,
            EvictablePages = pool.EvictablePages,
            ResidentAdapters = pool.ResidentAdapters,
            HostAdapters = pool.HostAdapters,
            HostAdapterBytes = pool.HostAdapterBytes,
            AdapterLoads = pool.AdapterLoads,
            AdapterLoadBytes = pool.AdapterLoadBytes,
            AdapterHits = pool.AdapterHits,
            AdapterEvictions = pool.AdapterEvictions,
            AdapterWaitedLoads = pool.AdapterWaitedLoads,
            AdapterUnusedLoads = pool.AdapterUnusedLoads,
            Preemptions = pool.Preemptions,
            Steps = pool.Steps,
            Tokens = pool.Tokens,
            Recordings = pool.Recordings,
            StartRecordings = pool.StartRecordings,
            RecordingBytes = pool.RecordingBytes,
            RecordingTime = pool.RecordingTime,
            RecordingsMade = pool.RecordingsMade,
            ReplayedSteps = pool.ReplayedSteps,
            LastBatchRows = numbers.Rows,
            LastBatchTokens = numbers.Tokens,
            LastBatchAdapters = numbers.Adapters,
            LastHeartbeat = numbers.Heartbeat,
        };
    }

    /// <summary>Takes no new requests and waits until those it has have ended.</summary>
    /// <param name="ct">Ends the wait; the engine stays in <see cref="EngineState.Draining"/>.</param>
    public Task DrainAsync(CancellationToken ct = default)
    {
        lock (_gate)
        {
            if (_state is EngineState.Ready)
            {
                _state = EngineState.Draining;
            }
        }

        return _loop.WhenIdleAsync().WaitAsync(ct);
    }

    /// <summary>Proves the pool's invariants on the engine's own thread. For tests and diagnosis.</summary>
    /// <exception cref="SLoRAException">One is broken.</exception>
    public Task CheckAsync() => _loop.RunAsync(_native.Check);

    /// <summary>Ends every request with an error and gives back the pool, the adapters and the model.</summary>
    public ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            _state = EngineState.Stopped;
            _disposal ??= Task.Run(DisposeCoreAsync);
        }

        return new ValueTask(_disposal);
    }

    internal void Start() => _loop.Start();

    /// Keeps the catalogue like a folder from now on.
    internal void Watch(string directory, TimeSpan period)
    {
        var watch = new DirectoryWatch(_catalog, directory, period, _time, _logger);
        _watches.Add(watch);
        watch.Start();
    }

    private static SchedulerLimits LimitsOf(NativeGeometry geometry, SchedulerOptions options) => new()
    {
        TokensPerPage = geometry.TokensPerPage,
        TotalPages = geometry.NumPages,
        MaxSequences = geometry.MaxSequences,
        MaxBatchTokens = geometry.MaxBatchTokens,
        MaxBatchRows = geometry.MaxBatchRows,
        PrefillChunkTokens = options.PrefillChunk == 0 ? int.MaxValue : options.PrefillChunk,
    };

    private static SchedulerPolicies PoliciesOf(ExperimentOptions experiment)
    {
        var own = SchedulerPolicies.FirstComeFirstServed();
        return experiment.Scheduling == ExperimentScheduling.PerAdapter ? own with { Admission = new PerAdapterBatches() } : own;
    }

    private static string? AdapterLabel(GenerationRequest request) => request.Adapters.Count == 0 ? null : request.Adapters[0].Name;

    private static void Release(AdapterRevision[] revisions)
    {
        foreach (var revision in revisions)
        {
            revision.Release();
        }
    }

    private async Task DisposeCoreAsync()
    {
        foreach (var watch in _watches)
        {
            await watch.DisposeAsync().ConfigureAwait(false);
        }

        _loop.Dispose();
        _catalog.Close();
        _native.Dispose();
    }

    private NativeCounters ReadCounters()
    {
        try
        {
            return _state == EngineState.Stopped ? default : _native.GetCounters();
        }
        catch (ObjectDisposedException)
        {
            return default;
        }
    }

    private async ValueTask<AdapterRevision[]> AcquireAdaptersAsync(GenerationRequest request, CancellationToken ct)
    {
        if (_state != EngineState.Ready)
        {
            throw new SLoRAException($"the engine takes no requests: it is {_state}", _loop.Fault);
        }

        request.Validate(Info.Limits);
        var revisions = new List<AdapterRevision>(request.Adapters.Count);
        try
        {
            foreach (var adapter in request.Adapters)
            {
                revisions.Add(await _catalog.AcquireAsync(adapter.Name, ct).ConfigureAwait(false));
            }

            // Reading an adapter takes its time.
            return _state == EngineState.Ready ? [.. revisions] : throw new SLoRAException($"the engine takes no requests: it is {_state}", _loop.Fault);
        }
        catch
        {
            Release([.. revisions]);
            throw;
        }
    }

    private RequestTicket CreateTicket(GenerationRequest request, AdapterRevision[] revisions, IStreamObserver? observer = null)
    {
        var template = revisions.Select(revision => revision.ChatTemplate).FirstOrDefault(template => template is not null);
        var prompt = _prompts.Encode(request.Prompt, template);
        var adapters = revisions.Select((revision, i) => new SequenceAdapter(revision.Id, request.Adapters[i].Scale, revision.Pages)).ToArray();
        var maxTokens = FitToPool(request, prompt.Length, request.TotalTokens(prompt.Length, Info.Limits), adapters);
        var maxOutput = (int)Math.Min(int.MaxValue, (long)(maxTokens - prompt.Length) * request.NumChoices);
        return new RequestTicket
        {
            Id = new RequestId(Interlocked.Increment(ref _lastRequestId)),
            PromptTokens = prompt,
            MaxTokens = maxTokens,
            Adapters = adapters,
            Sampling = request.Sampling,
            Seed = request.Sampling.Seed ?? BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(sizeof(ulong))),
            NumChoices = request.NumChoices,
            StopTokenIds = [.. request.StopTokenIds, .. request.IgnoreEos ? [] : _tokenizer.EosIds],
            Stream = new TokenStream(request.Sampling.NumLogprobs ?? 0, maxOutput, observer),
        };
    }

    // A request must be able to end when it has the pool to itself. One that did not say how much it wants gets what fits.
    private int FitToPool(GenerationRequest request, int promptTokens, int totalTokens, SequenceAdapter[] adapters)
    {
        var geometry = _native.Geometry;
        var room = geometry.NumPages - adapters.Sum(adapter => adapter.Pages);
        var fitting = (int)Math.Clamp((long)room * geometry.TokensPerPage, 0, int.MaxValue);
        var fits = request.MaxOutputTokens is null ? promptTokens < fitting : totalTokens <= fitting;
        if (!fits)
        {
            throw new RequestInvalidException(
                $"the prompt has {promptTokens} tokens and max_tokens allows {totalTokens} in all; beside the request's adapters the pool of {geometry.NumPages} pages holds {fitting}", "max_tokens");
        }

        return Math.Min(totalTokens, fitting);
    }
}
