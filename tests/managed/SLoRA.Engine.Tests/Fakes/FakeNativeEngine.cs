// The native engine of the managed tests: pages, sequences, adapters and the step transaction as the C ABI states them,
// and tokens from a function of the history instead of a model. Refuses what the real one refuses. Its step allocates
// nothing, so that what the loop allocates can be measured around it.
using System.Collections.Concurrent;
using SLoRA.Engine.Native;
using SLoRA.Scheduling.Planning;

namespace SLoRA.Engine.Tests.Fakes;

internal sealed class FakeNativeEngine : INativeEngine
{
    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, FakeSequence> _sequences = [];
    private readonly Dictionary<ulong, FakeAdapter> _adapters = [];
    private readonly Queue<Step> _inFlight = new();
    private readonly Stack<Step> _idleSteps = new();
    private readonly Queue<ResidencyChange> _events = new();
    private ulong _lastAdapterId;
    private NativeCounters _counts;

    public FakeNativeEngine(NativeGeometry? geometry = null)
    {
        Geometry = geometry ?? DefaultGeometry;
        for (var i = 0; i < 2; i++)
        {
            _idleSteps.Push(new Step(Geometry.MaxBatchRows));
        }
    }

    public static NativeGeometry DefaultGeometry { get; } = new()
    {
        TokensPerPage = 16,
        NumPages = 256,
        PageBytes = 16 * 2 * 4 * 32 * 4 * 8,
        MaxSequences = 64,
        MaxBatchTokens = 256,
        MaxBatchRows = 32,
        MaxContext = 512,
        VocabSize = 4096,
        MaxLogprobs = 20,
    };

    public NativeGeometry Geometry { get; }

    /// The next token of a sequence; by default a deterministic one that ends nothing.
    public Func<FakeSequence, int> NextToken { get; set; } = OrdinaryToken;

    /// Collect waits until this is set.
    public ManualResetEventSlim StepGate { get; } = new(true);

    public TimeSpan StepTime { get; set; }

    /// Answers the next submits instead of running them.
    /// Concurrent: tests add to it while the loop runs.
    public ConcurrentQueue<StepStatus> Answers { get; } = new();

    /// Thrown by the next submit.
    public Exception? SubmitError { get; set; }

    /// Steps of more rows find no device memory.
    public int MemoryForRows { get; set; } = int.MaxValue;

    public int StepsWithoutMemory { get; private set; }

    public bool IsDisposed { get; private set; }

    public List<string> DisposedAdapters { get; } = [];

    public int MaxRowsSeen { get; private set; }

    public int MaxAdaptersSeen { get; private set; }

    public static int OrdinaryToken(FakeSequence sequence)
    {
        var hash = 2166136261u ^ (sequence.Temperature > 0 ? (uint)sequence.Seed : 0);
        foreach (var adapter in sequence.Adapters)
        {
            hash = (hash ^ (uint)adapter.Id.Value) * 16777619;
        }

        foreach (var token in sequence.Tokens)
        {
            hash = (hash ^ (uint)token) * 16777619;
        }

        return 300 + (int)(hash % 3000);
    }

    public StepStatus CreateSequence(SequenceStart start)
    {
        lock (_gate)
        {
            if (_sequences.Count == Geometry.MaxSequences)
            {
                return StepStatus.DeferredSlots;
            }

            foreach (var adapter in start.Adapters)
            {
                if (!_adapters.TryGetValue(adapter.Id.Value, out var held) || held.IsUnloaded)
                {
                    throw new AdapterNotFoundException(string.Empty, $"adapter {adapter.Id} is not loaded");
                }

                held.NumSequences++;
            }

            _sequences.Add(start.SequenceId, new FakeSequence(start));
            return StepStatus.Ok;
        }
    }

    public void ReleaseSequence(ulong sequenceId)
    {
        lock (_gate)
        {
            _sequences[sequenceId].IsReleased = true;
            RemoveIfGone(_sequences[sequenceId]);
        }
    }

    public void PreemptSequence(ulong sequenceId)
    {
        lock (_gate)
        {
            var sequence = _sequences[sequenceId];
            Require(sequence.InFlight == 0, "a sequence was preempted in flight");
            sequence.Computed = 0;
            _counts = _counts with { Preemptions = _counts.Preemptions + 1 };
        }
    }

    public StepStatus Submit(ReadOnlySpan<PlannedRow> rows, ReadOnlySpan<ulong> prefetch)
    {
        lock (_gate)
        {
            if (SubmitError is { } error)
            {
                throw error;
            }

            if (rows.Length > MemoryForRows)
            {
                StepsWithoutMemory++;
                throw new OutOfDeviceMemoryException(-200, $"a step of {rows.Length} rows, there is memory for {MemoryForRows}");
            }

            if (Answers.TryDequeue(out var answer) && answer != StepStatus.Ok)
            {
                return answer;
            }

            if (_inFlight.Count == 2)
            {
                return StepStatus.DeferredStep;
            }

            CheckRows(rows);
            return TryReserve(rows) ? Take(rows) : StepStatus.DeferredPages;
        }
    }

    public StepStatus Collect(StepOutcome outcome)
    {
        StepGate.Wait();
        if (StepTime > TimeSpan.Zero)
        {
            Thread.Sleep(StepTime);
        }

        lock (_gate)
        {
            if (!_inFlight.TryDequeue(out var step))
            {
                return StepStatus.NothingInFlight;
            }

            outcome.NumRows = step.NumRows;
            var used = 0;
            for (var i = 0; i < step.NumRows; i++)
            {
                outcome.Rows[i] = Finish(step.Rows[i], step.Tokens[i], outcome, ref used);
            }

            for (outcome.NumEvents = 0; _events.TryDequeue(out var change); outcome.NumEvents++)
            {
                outcome.Events[outcome.NumEvents] = change;
            }

            _idleSteps.Push(step);
            outcome.Pool = Count();
            return StepStatus.Ok;
        }
    }

    public void Check() => Require(Count() is var pool && pool.FreePages >= 0 && pool.FreePages + pool.KvPages + pool.AdapterPages == pool.TotalPages, "page accounting");

    public NativeCounters GetCounters()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(IsDisposed, this);
            return Count();
        }
    }

    /// What adapters were loaded from, in order.
    public List<AdapterImage> LoadedImages { get; } = [];

    /// Adapters that host memory holds; each is of 4096 bytes.
    public int MaxHostAdapters { get; set; } = int.MaxValue;

    public int MostHostAdapters { get; private set; }

    /// Loads wait until this is set.
    public ManualResetEventSlim LoadGate { get; } = new(true);

    public INativeAdapter LoadAdapter(AdapterImage image, bool pinned, IProgress<LoadProgress>? progress, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        var path = (image as AdapterImage.Files)?.Path ?? string.Empty;
        LoadGate.Wait(ct);
        if (File.Exists(Path.Combine(path, "bad")))
        {
            throw new SLoRAException(-202, $"{path}: lora_alpha is 'x'; a number is needed");
        }

        lock (_gate)
        {
            if (_adapters.Count >= MaxHostAdapters)
            {
                throw new OutOfDeviceMemoryException(-203, $"the adapter's image takes 4096 bytes, {(MaxHostAdapters - _adapters.Count) * 4096} of the host adapter budget are left");
            }

            MostHostAdapters = Math.Max(MostHostAdapters, _adapters.Count + 1);
            LoadedImages.Add(image);
            var adapter = new FakeAdapter(this, new AdapterId(++_lastAdapterId), path, pinned);
            _adapters.Add(adapter.Id.Value, adapter);
            return adapter;
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            IsDisposed = true;
            _sequences.Clear();
        }
    }

    private void Unload(FakeAdapter adapter)
    {
        lock (_gate)
        {
            adapter.IsUnloaded = true;
            DisposedAdapters.Add(adapter.Path);
            ForgetIfGone(adapter);
        }
    }

    private void ForgetIfGone(FakeAdapter adapter)
    {
        if (adapter is { IsUnloaded: true, NumSequences: 0 })
        {
            _adapters.Remove(adapter.Id.Value);
        }
    }

    private void CheckRows(ReadOnlySpan<PlannedRow> rows)
    {
        var tokens = 0;
        var adapters = 0UL;
        foreach (var row in rows)
        {
            var sequence = _sequences[row.SequenceId];
            Require(!sequence.IsReleased, "row of a released sequence");
            Require(row.FirstToken == sequence.Computed, "first_token is not num_computed");
            Require(row.NumTokens >= 1 && row.FirstToken + row.NumTokens <= sequence.NumTokens, "row past the history");
            Require(!row.Sample || row.FirstToken + row.NumTokens == sequence.NumTokens, "sample before the end of the history");
            tokens += row.NumTokens;
            foreach (var adapter in sequence.Adapters)
            {
                adapters |= 1UL << (int)(adapter.Id.Value % 64);
            }
        }

        Require(rows.Length >= 1 && rows.Length <= Geometry.MaxBatchRows && tokens <= Geometry.MaxBatchTokens, "more rows or tokens than a step may have");
        MaxRowsSeen = Math.Max(MaxRowsSeen, rows.Length);
        MaxAdaptersSeen = Math.Max(MaxAdaptersSeen, System.Numerics.BitOperations.PopCount(adapters));
    }

    private bool TryReserve(ReadOnlySpan<PlannedRow> rows)
    {
        var needed = 0;
        foreach (var row in rows)
        {
            var sequence = _sequences[row.SequenceId];
            needed += PagesFor(sequence.Computed + row.NumTokens) - PagesFor(sequence.Computed);
            foreach (var use in sequence.Adapters)
            {
                var adapter = _adapters[use.Id.Value];
                needed += adapter.IsResident || adapter.IsWanted ? 0 : adapter.Pages;
                adapter.IsWanted = true;
            }
        }

        var fits = needed <= Count().FreePages || TryEvict(needed);
        foreach (var adapter in _adapters.Values)
        {
            if (fits && adapter is { IsWanted: true, IsResident: false })
            {
                adapter.IsResident = true;
                _events.Enqueue(new ResidencyChange(adapter.Id.Value, IsLoaded: true));
                _counts = _counts with { AdapterLoads = _counts.AdapterLoads + 1 };
            }

            adapter.IsWanted = false;
        }

        return fits;
    }

    private bool TryEvict(int needed)
    {
        foreach (var adapter in _adapters.Values)
        {
            if (needed > Count().FreePages && adapter is { IsResident: true, NumSequences: 0, IsPinned: false })
            {
                adapter.IsResident = false;
                _events.Enqueue(new ResidencyChange(adapter.Id.Value, IsLoaded: false));
                _counts = _counts with { AdapterEvictions = _counts.AdapterEvictions + 1 };
            }
        }

        return needed <= Count().FreePages;
    }

    private StepStatus Take(ReadOnlySpan<PlannedRow> rows)
    {
        var step = _idleSteps.Pop();
        rows.CopyTo(step.Rows);
        step.NumRows = rows.Length;
        for (var i = 0; i < rows.Length; i++)
        {
            var sequence = _sequences[rows[i].SequenceId];
            sequence.Computed += rows[i].NumTokens;
            sequence.InFlight++;
            step.Tokens[i] = rows[i].Sample ? NextToken(sequence) : -1;
            if (rows[i].Sample)
            {
                sequence.Append(step.Tokens[i]);
            }

            _counts = _counts with { Tokens = _counts.Tokens + rows[i].NumTokens };
        }

        _counts = _counts with { Steps = _counts.Steps + 1 };
        _inFlight.Enqueue(step);
        return StepStatus.Ok;
    }

    private RowOutcome Finish(PlannedRow row, int token, StepOutcome outcome, ref int used)
    {
        var sequence = _sequences[row.SequenceId];
        sequence.InFlight--;
        if (sequence.IsReleased)
        {
            RemoveIfGone(sequence);
            return new RowOutcome(row.SequenceId, -1, 0, IsSampled: false, IsDropped: true, used, 0);
        }

        var offset = used;
        for (var i = 0; i < (row.Sample ? sequence.NumLogprobs : 0); i++)
        {
            outcome.Logprobs[used++] = new TokenScore(token + i, -0.5f - i);
        }

        return new RowOutcome(row.SequenceId, token, -0.5f, row.Sample, IsDropped: false, offset, used - offset);
    }

    private void RemoveIfGone(FakeSequence sequence)
    {
        if (!sequence.IsReleased || sequence.InFlight > 0)
        {
            return;
        }

        _sequences.Remove(sequence.Id);
        foreach (var use in sequence.Adapters)
        {
            var adapter = _adapters[use.Id.Value];
            adapter.NumSequences--;
            ForgetIfGone(adapter);
        }
    }

    private int PagesFor(int tokens) => (tokens + Geometry.TokensPerPage - 1) / Geometry.TokensPerPage;

    private NativeCounters Count()
    {
        int kv = 0, adapterPages = 0, evictable = 0, resident = 0;
        foreach (var sequence in _sequences.Values)
        {
            kv += PagesFor(sequence.Computed);
        }

        foreach (var adapter in _adapters.Values)
        {
            var pages = adapter.IsResident ? adapter.Pages : 0;
            adapterPages += pages;
            resident += adapter.IsResident ? 1 : 0;
            evictable += adapter is { NumSequences: 0, IsPinned: false } ? pages : 0;
        }

        return _counts with
        {
            TotalPages = Geometry.NumPages,
            FreePages = Geometry.NumPages - kv - adapterPages,
            KvPages = kv,
            AdapterPages = adapterPages,
            EvictablePages = evictable,
            NumSequences = _sequences.Count,
            ResidentAdapters = resident,
            HostAdapters = _adapters.Count,
        };
    }

    private static void Require(bool holds, string message)
    {
        if (!holds)
        {
            throw new InvalidOperationException(message);
        }
    }

    private sealed class Step(int maxRows)
    {
        public readonly PlannedRow[] Rows = new PlannedRow[maxRows];
        public readonly int[] Tokens = new int[maxRows];
        public int NumRows;
    }

    private sealed class FakeAdapter(FakeNativeEngine engine, AdapterId id, string path, bool pinned) : INativeAdapter
    {
        public AdapterId Id => id;

        public string Path => path;

        public int LoraRank => 8;

        public int Pages => 2;

        public long Bytes => 4096;

        public IReadOnlyList<string> Modules { get; } = ["q", "v"];

        public AdapterResidency Residency => IsResident ? AdapterResidency.Device : AdapterResidency.Host;

        public bool IsResident { get; set; }

        public bool IsWanted { get; set; }

        public bool IsPinned { get; private set; } = pinned;

        public bool IsUnloaded { get; set; }

        public int NumSequences { get; set; }

        public void SetPinned(bool pinned) => IsPinned = pinned;

        public void Dispose() => engine.Unload(this);
    }
}
