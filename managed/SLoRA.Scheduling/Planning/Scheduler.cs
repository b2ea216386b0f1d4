// Decides who runs: continuous batching with admission at every step. It owns the queue, the running list and every
// count of tokens; it knows no tokens, no handles and no clock but the injected one. One thread uses it.
//
// The cycle of its owner:
//   plan = Plan()                  nothing but preemptions and admissions has happened yet
//   preempt plan.Preempted, create plan.Admitted, submit plan.Rows
//   Commit(plan)                   if the engine took it; otherwise Defer(status), and Plan again
//   ObservePool, Complete(row…), Recycle(plan)    at the collect
// Plan n+1 is made while n is in flight: counts include what is in flight, as if each sampled row went on. A sequence
// that turns out to have stopped is Ended; its row in flight is wasted and dropped.
//
// Order within a plan: one token for each decoding sequence, then chunks of admitted prompts, then admissions; in each
// group the oldest first.
using SLoRA.Scheduling.Admission;
using SLoRA.Scheduling.Clustering;
using SLoRA.Scheduling.Fairness;

namespace SLoRA.Scheduling.Planning;

internal sealed class Scheduler
{
    // Two plans in flight and one being made.
    private const int NumPlans = 3;

    private readonly SchedulerLimits _limits;
    private readonly SchedulerPolicies _policies;
    private readonly TimeProvider _time;
    private readonly WaitingQueue _queue = new();
    private readonly List<ScheduledSequence> _running;
    private readonly AdapterTable _adapters = new();
    private readonly BatchPlan[] _plans;

    private ulong _planIndex;
    private ulong _arrivals;
    private int _numSlots;
    private int _rowsInFlight;
    private PoolState _pool;

    // Pages that went since the counters of _pool were taken: positive taken, negative given back.
    private int _drift;
    private bool _skipCold;
    private bool _holdAdmission;

    public Scheduler(SchedulerLimits limits, SchedulerPolicies policies, TimeProvider time)
    {
        _limits = limits;
        _policies = policies;
        _time = time;
        MaxRunning = Math.Min(limits.MaxBatchRows, limits.MaxBatchTokens);
        _running = new(MaxRunning);
        _plans = new BatchPlan[NumPlans];
        for (var i = 0; i < NumPlans; i++)
        {
            _plans[i] = new BatchPlan(MaxRunning, limits.MaxPrefetch);
        }
    }

    /// Each running sequence gets a row in each step, so both limits of a step bound them.
    public int MaxRunning { get; }

    public int NumWaiting => _queue.Count;

    public int NumRunning => _running.Count;

    /// Nobody waits or runs. Rows of ended sequences may still be in flight.
    public bool IsIdle => _queue.Count == 0 && _running.Count == 0;

    public int RowsInFlight => _rowsInFlight;

    public AdapterTable Adapters => _adapters;

    /// How long the head of the queue has waited.
    public TimeSpan OldestWait => _queue.Count == 0 ? TimeSpan.Zero : _time.GetElapsedTime(_queue[0].ArrivedAt);

    public void Enqueue(ScheduledSequence sequence)
    {
        sequence.Arrival = ++_arrivals;
        sequence.ArrivedAt = _time.GetTimestamp();
        sequence.Phase = SequencePhase.Queued;
        foreach (var adapter in sequence.Adapters)
        {
            adapter.NumNamed++;
        }

        _queue.PushBack(sequence);
    }

    /// The pool as it is after everything submitted so far.
    public void ObservePool(PoolState pool)
    {
        _pool = pool;
        _drift = 0;
    }

    public BatchPlan Plan()
    {
        _planIndex++;
        var plan = IdlePlan();
        plan.Clear();
        var budget = new PageBudget(_limits.TokensPerPage, _pool);
        budget.Give(-_drift);
        PreemptCondemned(plan, ref budget);

        var promised = 0;
        PlanRunning(plan, ref budget, ref promised, decoding: true);
        PlanRunning(plan, ref budget, ref promised, decoding: false);
        if (plan.Preempted.IsEmpty && !_skipCold && !_holdAdmission)
        {
            Admit(plan, ref budget, promised);
        }

        _skipCold = false;
        plan.NumPrefetch = _policies.Prefetch.Choose(_queue, _planIndex, plan.PrefetchRoom);
        return plan;
    }

    /// The engine took the plan.
    public void Commit(BatchPlan plan)
    {
        var rows = plan.Rows;
        var sequences = plan.Sequences;
        for (var i = 0; i < rows.Length; i++)
        {
            var sequence = sequences[i];
            _drift += PageBudget.PagesFor(sequence.NumComputed + rows[i].NumTokens, _limits.TokensPerPage) - PagesHeld(sequence);
            sequence.NumComputed += rows[i].NumTokens;
            sequence.NumTokens += rows[i].Sample ? 1 : 0;
            sequence.RowsInFlight++;
        }

        _rowsInFlight += rows.Length;
        plan.IsInFlight = true;
    }

    /// The step of this plan was collected and each of its rows completed: its arrays may be filled again.
    public static void Recycle(BatchPlan plan) => plan.IsInFlight = false;

    /// The engine deferred the plan while nothing was in flight. Answers the sequence that cannot go on even alone, or
    /// null if planning again may help.
    public ScheduledSequence? DeferForPages()
    {
        var victim = _policies.Preemption.PickVictim(_running, null);
        if (victim is not null && _running.Count == 1)
        {
            return victim;
        }

        // The oldest is left alone; if only it is left, those condemned before give way in the next plan.
        if (victim is not null && !ReferenceEquals(victim, _running[0]))
        {
            victim.Phase = SequencePhase.Condemned;
        }

        return null;
    }

    /// The engine could not make an adapter resident now: the next plan runs only those that surely are.
    public void DeferForAdapter() => _skipCold = true;

    /// The engine had no slot for an admitted sequence after all: it waits at the front until something ends.
    public void Unadmit(ScheduledSequence sequence)
    {
        _running.Remove(sequence);
        GiveSlot(sequence);
        sequence.Phase = SequencePhase.Queued;
        _queue.Return(sequence);
        _holdAdmission = _rowsInFlight > 0 || _running.Count > 0;
    }

    /// A row of a collected step.
    public void Complete(ScheduledSequence sequence)
    {
        sequence.RowsInFlight--;
        _rowsInFlight--;
        _holdAdmission = false;
        if (sequence.Phase == SequencePhase.Ended && sequence.RowsInFlight == 0)
        {
            GiveSlot(sequence);
        }
    }

    /// It finished, failed or was cancelled, in whatever phase. Its native counterpart is the caller's to release.
    public void End(ScheduledSequence sequence)
    {
        if (sequence.Phase == SequencePhase.Ended)
        {
            return;
        }

        _ = sequence.Phase == SequencePhase.Queued ? _queue.Remove(sequence) : _running.Remove(sequence);
        sequence.Phase = SequencePhase.Ended;
        _holdAdmission = false;
        if (sequence.RowsInFlight == 0)
        {
            _drift -= PagesHeld(sequence);
            GiveSlot(sequence);
        }

        _adapters.Unname(sequence.Adapters);
    }

    private BatchPlan IdlePlan()
    {
        foreach (var plan in _plans)
        {
            if (!plan.IsInFlight)
            {
                return plan;
            }
        }

        throw new InvalidOperationException($"all {NumPlans} plans are in flight; collect and recycle one first");
    }

    private int PagesHeld(ScheduledSequence sequence) => PageBudget.PagesFor(sequence.NumComputed, _limits.TokensPerPage);

    private void PreemptCondemned(BatchPlan plan, ref PageBudget budget)
    {
        // From the end, for preemption shortens the list.
        for (var i = _running.Count - 1; i >= 0; i--)
        {
            if (_running[i].Phase == SequencePhase.Condemned && CanPreempt(_running[i]))
            {
                Preempt(_running[i], plan, ref budget);
            }
        }
    }

    private bool CanPreempt(ScheduledSequence sequence) => sequence.RowsInFlight == 0 && sequence.PlannedIn != _planIndex;

    private void Preempt(ScheduledSequence sequence, BatchPlan plan, ref PageBudget budget)
    {
        var pages = PagesHeld(sequence);
        budget.Give(pages);
        _drift -= pages;
        _running.Remove(sequence);
        sequence.NumComputed = 0;
        sequence.Preemptions++;
        sequence.Phase = SequencePhase.Queued;
        _queue.Return(sequence);
        plan.PreemptedList.Add(sequence);
    }

    private void PlanRunning(BatchPlan plan, ref PageBudget budget, ref int promised, bool decoding)
    {
        // Preemption shortens the list behind i: victims come from its end.
        for (var i = 0; i < _running.Count; i++)
        {
            var sequence = _running[i];
            var isDecoding = sequence.RemainingTokens <= 1 && sequence.NumComputed > 0;
            if (isDecoding != decoding || sequence.Phase != SequencePhase.Running || sequence.IsLastSampleInFlight)
            {
                continue;
            }

            var tokens = _skipCold && !IsWarm(sequence) ? 0 : ChunkFor(sequence, plan, decoding);
            if (tokens > 0 && TryTakePages(sequence, ref tokens, plan, ref budget))
            {
                AddRow(plan, sequence, tokens);
            }
            else
            {
                tokens = 0;
            }

            promised += budget.PagesPromised(sequence) - budget.PagesToGrow(sequence, tokens);
        }
    }

    private int ChunkFor(ScheduledSequence sequence, BatchPlan plan, bool decoding)
    {
        var room = _limits.MaxBatchTokens - plan.NumTokens;
        if (!decoding && plan.NumRows > 0)
        {
            room = Math.Min(room, _limits.PrefillChunkTokens);
        }

        return Math.Min(sequence.RemainingTokens, room);
    }

    private bool TryTakePages(ScheduledSequence sequence, ref int tokens, BatchPlan plan, ref PageBudget budget)
    {
        if (budget.TryTake(budget.PagesToGrow(sequence, tokens)) || TryMakeRoom(sequence, tokens, plan, ref budget))
        {
            return true;
        }

        if (sequence.Phase != SequencePhase.Running)
        {
            return false;
        }

        // A prompt goes on with what fits. The oldest asks for a token in any case if nobody is left to give way: the
        // estimate may be wrong, and if not, the engine's answer ends the matter.
        var fitting = budget.TokensThatFit(sequence, tokens);
        tokens = fitting == 0 && IsLastResort(sequence) ? 1 : fitting;
        budget.TryTake(budget.PagesToGrow(sequence, tokens));
        return tokens > 0;
    }

    private bool IsLastResort(ScheduledSequence sequence) =>
        _rowsInFlight == 0 && _running.Count == 1 && ReferenceEquals(sequence, _running[0]);

    // Condemns as many as are needed, counting those condemned before. Pages of victims with rows in flight come later.
    private bool TryMakeRoom(ScheduledSequence needy, int tokens, BatchPlan plan, ref PageBudget budget)
    {
        var needed = budget.PagesToGrow(needy, tokens);
        var coming = PagesOfCondemned();
        while (budget.Available + coming < needed)
        {
            var victim = _policies.Preemption.PickVictim(_running, needy);
            if (victim is null || ReferenceEquals(victim, _running[0]))
            {
                return false;
            }

            victim.Phase = SequencePhase.Condemned;
            if (!CanPreempt(victim))
            {
                coming += PagesHeld(victim);
                continue;
            }

            Preempt(victim, plan, ref budget);
            if (ReferenceEquals(victim, needy))
            {
                return false;
            }
        }

        return needy.Phase == SequencePhase.Running && budget.TryTake(needed);
    }

    private int PagesOfCondemned()
    {
        var pages = 0;
        foreach (var sequence in _running)
        {
            pages += sequence.Phase == SequencePhase.Condemned ? PagesHeld(sequence) : 0;
        }

        return pages;
    }

    private void Admit(BatchPlan plan, ref PageBudget budget, int promised)
    {
        var longest = _queue.Count > 0 ? LongestPages() : 0;
        while (_queue.Count > 0 && plan.NumTokens < _limits.MaxBatchTokens)
        {
            var index = _policies.Admission.Pick(_queue, RoomFor(budget.Available - promised, longest));
            if (index < 0)
            {
                return;
            }

            var sequence = _queue[index];
            _queue.RemoveAt(index);
            var tokens = ChunkFor(sequence, plan, decoding: false);
            budget.TryTake(PageBudget.AdapterPagesToHold(sequence) + budget.PagesToGrow(sequence, tokens));
            promised += budget.PagesPromised(sequence) - budget.PagesToGrow(sequence, tokens);
            longest = Math.Max(longest, PageBudget.PagesFor(sequence.MaxTokens, _limits.TokensPerPage));
            Start(sequence, plan);
            AddRow(plan, sequence, tokens);
        }
    }

    private AdmissionRoom RoomFor(int availablePages, int longestPages) => new()
    {
        FreeSlots = _limits.MaxSequences - _numSlots,
        FreeRows = MaxRunning - _running.Count,
        AvailablePages = availablePages,
        ReservePages = _running.Count,
        HeldAdapterPages = _adapters.HeldPages,
        LongestPages = longestPages,
        TokensPerPage = _limits.TokensPerPage,
        TotalPages = _limits.TotalPages,
        IsIdle = _running.Count == 0 && _rowsInFlight == 0,
    };

    private int LongestPages()
    {
        var tokens = 0;
        foreach (var sequence in _running)
        {
            tokens = Math.Max(tokens, sequence.MaxTokens);
        }

        for (var i = 0; i < _queue.Count && _queue[i].HasSlot; i++)
        {
            tokens = Math.Max(tokens, _queue[i].MaxTokens);
        }

        return PageBudget.PagesFor(tokens, _limits.TokensPerPage);
    }

    private void Start(ScheduledSequence sequence, BatchPlan plan)
    {
        sequence.Phase = SequencePhase.Running;
        _running.Add(sequence);
        if (sequence.HasSlot)
        {
            return;
        }

        // The drift counts what holding its adapters takes out of the evictable and free pages.
        _drift += PageBudget.AdapterPagesToHold(sequence);
        sequence.HasSlot = true;
        _numSlots++;
        _adapters.Hold(sequence.Adapters);
        plan.AdmittedList.Add(sequence);
    }

    private void GiveSlot(ScheduledSequence sequence)
    {
        if (!sequence.HasSlot)
        {
            return;
        }

        sequence.HasSlot = false;
        _numSlots--;
        _adapters.Release(sequence.Adapters);
    }

    private void AddRow(BatchPlan plan, ScheduledSequence sequence, int tokens)
    {
        plan.Add(sequence, tokens);
        sequence.PlannedIn = _planIndex;
        foreach (var adapter in sequence.Adapters)
        {
            plan.NumAdapters += adapter.SeenByPlan == _planIndex ? 0 : 1;
            adapter.SeenByPlan = _planIndex;
        }
    }

    private static bool IsWarm(ScheduledSequence sequence)
    {
        foreach (var adapter in sequence.Adapters)
        {
            if (!adapter.IsResident)
            {
                return false;
            }
        }

        return true;
    }
}
