// Runs a scheduler against the simulated engine as the engine's loop does: run-ahead by one, collect first when a plan is
// deferred, release what stopped while its next row is in flight.
using Microsoft.Extensions.Time.Testing;
using SLoRA.Scheduling.Planning;

namespace SLoRA.Scheduling.Tests;

internal sealed record Job(int Prompt, int Output, int StopAfter, int[] Adapters, int ArrivesAt, int CancelAt);

internal sealed class Drive
{
    private readonly SchedulerLimits _limits;
    private readonly Queue<BatchPlan> _submitted = new();
    private readonly Dictionary<ulong, Tracked> _live = [];
    private readonly Func<int, int> _adapterPages;

    public Drive(SchedulerLimits limits, Func<int, int>? adapterPages = null)
    {
        _limits = limits;
        _adapterPages = adapterPages ?? (_ => 1);
        Engine = new SimulatedEngine(limits);
        Scheduler = new Scheduler(limits, SchedulerPolicies.FirstComeFirstServed(), new FakeTimeProvider());
    }

    public Scheduler Scheduler { get; }

    public SimulatedEngine Engine { get; }

    public List<ulong> FinishOrder { get; } = [];

    public List<ulong> FirstAdmissions { get; } = [];

    public int Preemptions { get; private set; }

    public int Steps { get; private set; }

    public int Deferrals { get; private set; }

    public Dictionary<ulong, int> Sampled { get; } = [];

    public HashSet<ulong> RunningIds => [.. _live.Values.Where(tracked => tracked.Phase != SequencePhase.Queued).Select(tracked => tracked.Id.Value)];

    public void Arrive(ulong id, Job job)
    {
        var uses = job.Adapters.Select(adapter => Scheduler.Adapters.GetOrAdd(new AdapterId((ulong)adapter), _adapterPages(adapter))).ToArray();
        var tracked = new Tracked(new SequenceId(id), job, uses);
        _live.Add(id, tracked);
        Sampled[id] = 0;
        Scheduler.Enqueue(tracked);
    }

    public void Run(IReadOnlyList<Job> jobs, int maxRounds = 200_000)
    {
        var next = 0;
        for (var round = 0; next < jobs.Count || _live.Count > 0 || Engine.NumInFlight > 0; round++)
        {
            Assert.True(round < maxRounds, $"no end after {round} rounds: {_live.Count} live, {Scheduler.NumRunning} running, {Scheduler.NumWaiting} waiting");
            for (; next < jobs.Count && jobs[next].ArrivesAt <= round; next++)
            {
                Arrive((ulong)next + 1, jobs[next]);
            }

            foreach (var tracked in _live.Values.Where(tracked => tracked.Job.CancelAt == round).ToList())
            {
                Finish(tracked);
            }

            Round();
        }
    }

    public void Round()
    {
        var progressed = Engine.NumInFlight < 2 && TrySubmit();
        if (Engine.NumInFlight == 2 || (!progressed && Engine.NumInFlight > 0))
        {
            CollectOne();
        }

        Engine.Check();
    }

    private bool TrySubmit()
    {
        if (Engine.NumInFlight == 0)
        {
            Scheduler.ObservePool(Engine.Pool);
        }

        var waiting = _live.Values.Where(tracked => tracked.Phase == SequencePhase.Queued).ToList();
        var plan = Scheduler.Plan();
        CheckOrderOfStarts(waiting, plan);
        foreach (var sequence in plan.Preempted)
        {
            Engine.Preempt(sequence.Id.Value);
            Preemptions++;
        }

        foreach (var sequence in plan.Admitted)
        {
            Engine.Create(sequence.Id.Value, sequence.NumPromptTokens, sequence.Adapters.ToArray());
            FirstAdmissions.Add(sequence.Id.Value);
        }

        if (plan.NumRows == 0)
        {
            return false;
        }

        if (Engine.Submit(plan))
        {
            Scheduler.Commit(plan);
            _submitted.Enqueue(plan);
            return true;
        }

        Deferrals++;
        if (Engine.NumInFlight == 0)
        {
            Assert.Null(Scheduler.DeferForPages());
        }

        return false;
    }

    // Whoever starts, for the first time or again after preemption, came before all who still wait: a preempted request
    // keeps its place.
    private static void CheckOrderOfStarts(List<Tracked> waiting, BatchPlan plan)
    {
        var started = waiting.Where(tracked => plan.Sequences.Contains(tracked)).Select(tracked => tracked.Id.Value).ToList();
        var left = waiting.Where(tracked => tracked.Phase == SequencePhase.Queued).Select(tracked => tracked.Id.Value).ToList();
        Assert.True(started.Count == 0 || left.Count == 0 || started.Max() < left.Min(), $"{string.Join(",", started)} started before {string.Join(",", left)}");
    }

    private void CollectOne()
    {
        Steps++;
        var plan = _submitted.Dequeue();
        var results = Engine.Collect();
        Engine.Loaded.ForEach(Scheduler.Adapters.Loaded);
        Engine.Evicted.ForEach(Scheduler.Adapters.Evicted);
        Engine.Loaded.Clear();
        Engine.Evicted.Clear();
        Scheduler.ObservePool(Engine.Pool);
        var sequences = plan.Sequences.ToArray();
        for (var i = 0; i < results.Count; i++)
        {
            Scheduler.Complete(sequences[i]);
            Assert.Equal(sequences[i].Phase == SequencePhase.Ended, results[i].Dropped);
            if (results[i].Row.Sample && !results[i].Dropped)
            {
                Sample((Tracked)sequences[i]);
            }
        }

        Scheduler.Recycle(plan);
    }

    private void Sample(Tracked tracked)
    {
        var count = ++Sampled[tracked.Id.Value];
        Assert.True(count <= tracked.Job.Output, "more tokens than max");
        if (count == Math.Min(tracked.Job.StopAfter, tracked.Job.Output))
        {
            Finish(tracked);
        }
    }

    private void Finish(Tracked tracked)
    {
        if (tracked.HasSlot)
        {
            Engine.Release(tracked.Id.Value);
        }

        Scheduler.End(tracked);
        _live.Remove(tracked.Id.Value);
        FinishOrder.Add(tracked.Id.Value);
    }

    internal sealed class Tracked(SequenceId id, Job job, AdapterUse[] adapters)
        : ScheduledSequence(id, job.Prompt, job.Prompt + job.Output, adapters)
    {
        public Job Job { get; } = job;
    }
}
