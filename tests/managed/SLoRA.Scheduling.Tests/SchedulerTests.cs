// Single behaviours of the scheduler, each at the smallest load that shows it.
using SLoRA.Scheduling.Ablation;
using SLoRA.Scheduling.Planning;

namespace SLoRA.Scheduling.Tests;

public class SchedulerTests
{
    private static SchedulerLimits Limits(int pages = 1000, int batchTokens = 64, int rows = 8, int sequences = 8, int chunk = int.MaxValue) => new()
    {
        TokensPerPage = 4,
        TotalPages = pages,
        MaxSequences = sequences,
        MaxBatchRows = rows,
        MaxBatchTokens = batchTokens,
        PrefillChunkTokens = chunk,
    };

    private static Job Prompt(int prompt, int output, params int[] adapters) => new(prompt, output, int.MaxValue, adapters, 0, -1);

    private static BatchPlan Step(Scheduler scheduler, int pages = 1000)
    {
        var plan = Submit(scheduler, pages);
        Collect(scheduler, plan);
        return plan;
    }

    private static BatchPlan Submit(Scheduler scheduler, int pages)
    {
        scheduler.ObservePool(new PoolState(pages, 0));
        var plan = scheduler.Plan();
        scheduler.Commit(plan);
        return plan;
    }

    private static void Collect(Scheduler scheduler, BatchPlan plan)
    {
        foreach (var sequence in plan.Sequences)
        {
            scheduler.Complete(sequence);
        }

        Scheduler.Recycle(plan);
    }

    private static IEnumerable<ulong> Ids(BatchPlan plan) => plan.Rows.ToArray().Select(row => row.SequenceId);

    [Fact]
    public void A_new_request_joins_the_next_step_beside_decoding_ones()
    {
        var drive = new Drive(Limits());
        drive.Arrive(1, Prompt(10, 5));
        Step(drive.Scheduler);
        drive.Arrive(2, Prompt(7, 5));
        var plan = Step(drive.Scheduler);
        Assert.Equal([new PlannedRow(1, 1, 10, true), new PlannedRow(2, 7, 0, true)], plan.Rows.ToArray());
    }

    [Fact]
    public void Decoding_rows_come_before_chunks_and_chunks_keep_to_the_batch()
    {
        var drive = new Drive(Limits(batchTokens: 16));
        drive.Arrive(1, Prompt(10, 5));
        Step(drive.Scheduler);
        drive.Arrive(2, Prompt(40, 5));
        Assert.Equal([new PlannedRow(1, 1, 10, true), new PlannedRow(2, 15, 0, false)], Step(drive.Scheduler).Rows.ToArray());
        Assert.Equal([new PlannedRow(1, 1, 11, true), new PlannedRow(2, 15, 15, false)], Step(drive.Scheduler).Rows.ToArray());
        Assert.Equal([new PlannedRow(1, 1, 12, true), new PlannedRow(2, 10, 30, true)], Step(drive.Scheduler).Rows.ToArray());
    }

    [Fact]
    public void A_long_prompt_is_cut_smaller_while_others_decode_and_not_when_alone()
    {
        var drive = new Drive(Limits(chunk: 8));
        drive.Arrive(1, Prompt(30, 5));
        Assert.Equal(30, Step(drive.Scheduler).Rows[0].NumTokens);
        drive.Arrive(2, Prompt(30, 5));
        Assert.Equal(8, Step(drive.Scheduler).Rows[1].NumTokens);
    }

    [Fact]
    public void The_next_plan_is_made_while_one_is_in_flight_and_not_past_max_tokens()
    {
        var drive = new Drive(Limits());
        drive.Arrive(1, Prompt(3, 2));
        drive.Scheduler.ObservePool(new PoolState(1000, 0));
        var first = drive.Scheduler.Plan();
        drive.Scheduler.Commit(first);
        var second = drive.Scheduler.Plan();
        Assert.Equal([new PlannedRow(1, 1, 3, true)], second.Rows.ToArray());
        drive.Scheduler.Commit(second);
        Assert.Equal(0, drive.Scheduler.Plan().NumRows);
    }

    [Fact]
    public void When_pages_run_out_the_latest_gives_way_and_returns_to_the_front()
    {
        // Two run, the second is preempted, and the third, which has waited all along, still comes after it.
        var drive = new Drive(Limits(pages: 8, rows: 2));
        drive.Run([Prompt(8, 20), Prompt(8, 20), Prompt(8, 20)]);
        Assert.True(drive.Preemptions > 0);
        Assert.Equal([1UL, 2UL, 3UL], drive.FinishOrder);
    }

    [Fact]
    public void A_preempted_request_goes_before_all_that_wait_and_keeps_its_age()
    {
        // Three run on six pages and four more wait. When the first needs a third page, the third gives way; then the
        // second. Both are started again in order of age before any of the four, though these came long before them to
        // the queue.
        var drive = new Drive(Limits(pages: 6, rows: 3));
        foreach (var id in new ulong[] { 1, 2, 3, 4, 5, 6, 7 })
        {
            drive.Arrive(id, Prompt(4, 16));
        }

        var starts = new List<ulong>();
        var runs = new HashSet<ulong>();
        for (var step = 0; drive.FinishOrder.Count < 7; step++)
        {
            Assert.True(step < 2000);
            drive.Round();
            var running = drive.RunningIds;
            starts.AddRange(running.Except(runs).Order());
            runs = running;
        }

        Assert.Equal([1UL, 2UL, 3UL], starts.Take(3));
        var again = starts.Skip(3).Take(2).ToArray();
        Assert.True(drive.Preemptions >= 2);
        Assert.Equal([2UL, 3UL], again);
        Assert.Equal([1UL, 2UL, 3UL, 4UL, 5UL, 6UL, 7UL], drive.FinishOrder);
    }

    [Fact]
    public void One_preempted_late_takes_its_place_behind_an_older_one_preempted_before()
    {
        // 3 has no row in the step in flight, for its adapter is cold; 4 has. So 3 gives way at once and 4 only when the
        // step is collected, with 2, which found no room either.
        var drive = new Drive(Limits(chunk: 16));
        var scheduler = drive.Scheduler;
        drive.Arrive(1, Prompt(4, 9));
        Step(scheduler);
        drive.Arrive(2, Prompt(60, 9));
        drive.Arrive(3, Prompt(4, 9, 7));
        drive.Arrive(4, Prompt(4, 9));
        Assert.Equal([1UL, 2UL, 3UL, 4UL], Ids(Step(scheduler)));

        scheduler.DeferForAdapter();
        var inFlight = Submit(scheduler, 1000);
        Assert.Equal([1UL, 4UL, 2UL], Ids(inFlight));
        scheduler.DeferForAdapter();
        var withoutPages = Submit(scheduler, 0);
        Assert.Equal([3UL], withoutPages.Preempted.ToArray().Select(sequence => sequence.Id.Value));
        Collect(scheduler, inFlight);
        Collect(scheduler, withoutPages);
        var collected = Submit(scheduler, 0);
        Assert.Equal([4UL, 2UL], collected.Preempted.ToArray().Select(sequence => sequence.Id.Value));
        Collect(scheduler, collected);

        drive.Arrive(5, Prompt(4, 9));
        Assert.Equal([1UL, 2UL, 3UL, 4UL, 5UL], Ids(Step(scheduler)));
    }

    [Fact]
    public void Requests_that_found_no_slot_wait_at_the_front_in_their_order()
    {
        var drive = new Drive(Limits());
        drive.Arrive(1, Prompt(4, 9));
        drive.Arrive(2, Prompt(4, 9));
        drive.Arrive(3, Prompt(4, 9));
        drive.Scheduler.ObservePool(new PoolState(1000, 0));
        foreach (var sequence in drive.Scheduler.Plan().Admitted.ToArray())
        {
            drive.Scheduler.Unadmit(sequence);
        }

        Assert.Equal([1UL, 2UL, 3UL], Ids(Step(drive.Scheduler)));
    }

    [Fact]
    public void Adapters_of_waiting_requests_are_named_in_their_order_and_once_resident_or_not()
    {
        var drive = new Drive(Limits(rows: 1));
        drive.Arrive(1, Prompt(4, 9));
        drive.Arrive(2, Prompt(4, 4, 7));
        drive.Arrive(3, Prompt(4, 4, 5, 7));
        Assert.Equal([7UL, 5UL], Step(drive.Scheduler).Prefetch.ToArray());
        drive.Scheduler.Adapters.Loaded(7);
        Assert.Equal([7UL, 5UL], Step(drive.Scheduler).Prefetch.ToArray());
    }

    [Fact]
    public void Cold_adapters_that_would_fill_the_pool_for_good_wait()
    {
        // Fourteen pages, adapters of three: a third holder would fit now, and leave five for a sequence that ends with six.
        var drive = new Drive(Limits(pages: 14), _ => 3);
        drive.Run([Prompt(4, 20, 1), Prompt(4, 20, 2), Prompt(4, 20, 3)]);
        Assert.Equal(3, drive.FinishOrder.Count);
        Assert.Equal(0, drive.Deferrals);
    }

    [Fact]
    public void After_an_adapter_was_deferred_only_warm_rows_run()
    {
        var drive = new Drive(Limits());
        drive.Arrive(1, Prompt(4, 9, 1));
        Step(drive.Scheduler);
        drive.Scheduler.Adapters.Loaded(1);
        drive.Arrive(2, Prompt(4, 9, 2));
        Assert.Equal(2, drive.Scheduler.Plan().NumRows);
        drive.Scheduler.DeferForAdapter();
        Assert.Equal([1UL], drive.Scheduler.Plan().Rows.ToArray().Select(row => row.SequenceId));
        Assert.Equal(2, drive.Scheduler.Plan().NumRows);
    }

    [Fact]
    public void A_sequence_that_cannot_go_on_even_alone_is_named()
    {
        var drive = new Drive(Limits());
        drive.Arrive(1, Prompt(4, 9));
        drive.Scheduler.Plan();
        Assert.Equal(1UL, drive.Scheduler.DeferForPages()!.Id.Value);
    }

    [Fact]
    public void A_steady_decode_plan_allocates_nothing()
    {
        var drive = new Drive(Limits(pages: 100_000, rows: 8));
        for (ulong id = 1; id <= 8; id++)
        {
            drive.Arrive(id, Prompt(8, 5000, (int)id % 3 + 1));
        }

        for (var i = 0; i < 50; i++)
        {
            Step(drive.Scheduler, 100_000);
        }

        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 500; i++)
        {
            Step(drive.Scheduler, 100_000);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void Batches_of_one_adapter_are_static_and_follow_the_queue_s_head()
    {
        var scheduler = new Scheduler(Limits(rows: 8), SchedulerPolicies.FirstComeFirstServed() with { Admission = new PerAdapterBatches() }, TimeProvider.System);
        scheduler.ObservePool(new PoolState(1000, 0));
        var table = scheduler.Adapters;
        ScheduledSequence Arrive(ulong id, params ulong[] adapters)
        {
            var uses = adapters.Select(adapter => table.GetOrAdd(new AdapterId(adapter), 1)).ToArray();
            var sequence = new ScheduledSequence(new SequenceId(id), 4, 20, uses);
            scheduler.Enqueue(sequence);
            return sequence;
        }

        var first = new[] { Arrive(1, 7), Arrive(3, 7) };
        Arrive(2, 9);
        Arrive(4);
        Assert.Equal([1UL, 3UL], Ids(Step(scheduler)));

        // One that names the running adapter waits for the next batch; the head's own comes first.
        Arrive(5, 7);
        Assert.Equal([1UL, 3UL], Ids(Step(scheduler)));
        foreach (var sequence in first)
        {
            scheduler.End(sequence);
        }

        Assert.Equal([2UL], Ids(Step(scheduler)));
    }
}
