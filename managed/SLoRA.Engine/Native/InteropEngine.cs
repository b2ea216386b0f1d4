// The real native engine behind the loop's seam: turns plans and results from and into the bindings' structs. Owns the
// engine handle and the model handle it rests on, and the buffers of a step.
using SLoRA.Interop;
using SLoRA.Interop.Native;
using SLoRA.Scheduling.Planning;

namespace SLoRA.Engine.Native;

internal sealed class InteropEngine : INativeEngine
{
    private readonly NativeModel _model;
    private readonly NativeEngine _engine;
    private readonly StepBuffers _buffers;
    private readonly NativePlanRow[] _rows;

    public InteropEngine(NativeModel model, in NativeEngineOptions options, IProgress<LoadProgress>? progress, CancellationToken ct)
    {
        _model = model;
        _engine = NativeEngine.Create(model, options, progress is null ? null : new ByteProgress(progress, LoadProgress.Recording), ct);
        var geometry = _engine.Geometry;
        _buffers = new StepBuffers(geometry);
        _rows = new NativePlanRow[geometry.MaxBatchRows];
        Geometry = new NativeGeometry
        {
            TokensPerPage = (int)geometry.TokensPerPage,
            NumPages = (int)geometry.NumPages,
            PageBytes = checked((long)geometry.PageBytes * geometry.NumLayers),
            MaxSequences = (int)geometry.MaxSequences,
            MaxBatchTokens = (int)geometry.MaxBatchTokens,
            MaxBatchRows = (int)geometry.MaxBatchRows,
            MaxContext = (int)geometry.MaxContext,
            VocabSize = (int)geometry.VocabSize,
            MaxLogprobs = (int)geometry.MaxLogprobs,
        };
    }

    public NativeGeometry Geometry { get; }

    public NativeModelInfo ModelInfo => _model.Info;

    public StepStatus CreateSequence(SequenceStart start)
    {
        var adapters = Array.ConvertAll(start.Adapters, adapter => new NativeAdapterWeight { AdapterId = adapter.Id.Value, Weight = adapter.Weight });
        var created = _engine.TryCreateSequence(start.SequenceId, start.PromptTokens, adapters, start.MaxTokens, SamplingOf(start));
        return created ? StepStatus.Ok : StepStatus.DeferredSlots;
    }

    public void ReleaseSequence(ulong sequenceId) => _engine.ReleaseSequence(sequenceId);

    public void PreemptSequence(ulong sequenceId) => _engine.PreemptSequence(sequenceId);

    public StepStatus Submit(ReadOnlySpan<PlannedRow> rows, ReadOnlySpan<ulong> prefetch)
    {
        for (var i = 0; i < rows.Length; i++)
        {
            var row = rows[i];
            var flags = row.Sample ? NativeRowFlags.Sample : NativeRowFlags.None;
            _rows[i] = new NativePlanRow(row.SequenceId, (uint)row.FirstToken, (uint)row.NumTokens, flags);
        }

        return (StepStatus)_engine.Submit(_rows.AsSpan(0, rows.Length), prefetch);
    }

    public StepStatus Collect(StepOutcome outcome)
    {
        if (!_engine.Collect(_buffers))
        {
            return StepStatus.NothingInFlight;
        }

        CopyRows(outcome);
        CopyEvents(outcome);
        outcome.DeviceNs = _buffers.DeviceTime.Ticks * TimeSpan.NanosecondsPerTick;
        outcome.Pool = Convert(_buffers.Pool);
        return StepStatus.Ok;
    }

    public void Check() => _engine.Check();

    public NativeCounters GetCounters() => Convert(_engine.GetCounters());

    public INativeAdapter LoadAdapter(AdapterImage image, bool pinned, IProgress<LoadProgress>? progress, CancellationToken ct)
    {
        var options = image switch
        {
            AdapterImage.Files files => new NativeAdapterLoadOptions { Path = files.Path },
            AdapterImage.Synthetic made => new NativeAdapterLoadOptions
            {
                SyntheticLoraRank = made.LoraRank,
                SyntheticSeed = made.Seed,
                SyntheticModules = InteropAdapter.ModuleMask(made.Modules),
            },
            AdapterImage.Shared shared => new NativeAdapterLoadOptions { ShareImageOf = ((InteropAdapter)shared.Of).Handle },
            _ => throw new ArgumentException($"an adapter image of type {image.GetType().Name}", nameof(image)),
        };
        var stage = image is AdapterImage.Files { Path: var path } ? Path.GetFileName(path) : "adapter";
        var report = progress is null ? null : new ByteProgress(progress, stage);
        return new InteropAdapter(NativeAdapter.Load(_engine, options with { Pinned = pinned }, report, ct));
    }

    public void Dispose()
    {
        _engine.Dispose();
        _model.Dispose();
    }

    private static NativeSampling SamplingOf(SequenceStart start)
    {
        var sampling = start.Sampling;
        return new NativeSampling
        {
            Temperature = sampling.Temperature,
            TopK = sampling.TopK,
            TopP = sampling.TopP,
            MinP = sampling.MinP,
            TypicalP = sampling.TypicalP,
            RepetitionPenalty = sampling.RepetitionPenalty,
            PresencePenalty = sampling.PresencePenalty,
            FrequencyPenalty = sampling.FrequencyPenalty,
            NumLogprobs = sampling.NumLogprobs ?? 0,
            Seed = start.Seed,
            LogitBias = sampling.LogitBias?.Select(bias => new NativeLogitBias { TokenId = bias.Key, Bias = bias.Value }).ToArray() ?? [],
        };
    }

    private void CopyRows(StepOutcome outcome)
    {
        var rows = _buffers.Rows;
        var used = 0;
        outcome.NumRows = rows.Length;
        for (var i = 0; i < rows.Length; i++)
        {
            ref readonly var row = ref rows[i];
            var top = _buffers.LogprobsOf(row);
            outcome.Rows[i] = new RowOutcome(
                row.SequenceId, row.TokenId, row.Logprob, Has(row, NativeRowResultFlags.Sampled), Has(row, NativeRowResultFlags.Dropped), used, top.Length);
            foreach (ref readonly var score in top)
            {
                outcome.Logprobs[used++] = new TokenScore(score.TokenId, score.Logprob);
            }
        }
    }

    // Not Enum.HasFlag, which allocates where the JIT does not optimise.
    private static bool Has(in NativeRowResult row, NativeRowResultFlags flag) => (row.Flags & (uint)flag) != 0;

    private void CopyEvents(StepOutcome outcome)
    {
        // StepBuffers has room for fewer events than an outcome keeps: none is lost.
        var events = _buffers.Events;
        outcome.NumEvents = events.Length;
        for (var i = 0; i < events.Length; i++)
        {
            outcome.Events[i] = new ResidencyChange(events[i].AdapterId, events[i].Kind == (int)NativeResidencyEventKind.Loaded);
        }
    }

    private static NativeCounters Convert(in NativePoolCounters pool) => new()
    {
        TotalPages = (int)pool.TotalPages,
        FreePages = (int)pool.FreePages,
        KvPages = (int)pool.KvPages,
        AdapterPages = (int)pool.AdapterPages,
        EvictablePages = (int)pool.EvictablePages,
        NumSequences = (int)pool.NumSequences,
        ResidentAdapters = (int)pool.ResidentAdapters,
        HostAdapters = (int)pool.HostAdapters,
        HostAdapterBytes = (long)pool.HostAdapterBytes,
        AdapterLoads = (long)pool.AdapterLoads,
        AdapterLoadBytes = (long)pool.AdapterLoadBytes,
        AdapterHits = (long)pool.AdapterHits,
        AdapterEvictions = (long)pool.AdapterEvictions,
        AdapterWaitedLoads = (long)pool.AdapterWaitedLoads,
        AdapterUnusedLoads = (long)pool.AdapterUnusedLoads,
        Preemptions = (long)pool.Preemptions,
        Steps = (long)pool.Steps,
        Tokens = (long)pool.Tokens,
        Recordings = (int)pool.Recordings,
        StartRecordings = (int)pool.StartRecordings,
        RecordingBytes = (long)pool.RecordingBytes,
        RecordingTime = TimeSpan.FromMicroseconds(pool.RecordingNs / 1000),
        RecordingsMade = (long)pool.RecordingsMade,
        ReplayedSteps = (long)pool.ReplayedSteps,
    };
}
