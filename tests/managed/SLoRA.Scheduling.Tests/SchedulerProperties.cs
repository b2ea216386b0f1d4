// What holds for every load: rules of the plan (checked by the simulated engine), accounting, an end for every request.
using CsCheck;
using SLoRA.Scheduling.Planning;

namespace SLoRA.Scheduling.Tests;

public class SchedulerProperties
{
    private static readonly Gen<Job> GenJob =
        from prompt in Gen.Int[1, 60]
        from output in Gen.Int[1, 40]
        from stopAfter in Gen.Int[1, 60]
        from adapters in Gen.Int[1, 6].Array[0, 2]
        from arrivesAt in Gen.Int[0, 120]
        from cancel in Gen.Int[0, 5]
        from cancelAt in Gen.Int[0, 150]
        select new Job(prompt, output, stopAfter, [.. adapters.Distinct()], arrivesAt, cancel == 0 ? arrivesAt + cancelAt : -1);

    // A pool that just holds the longest sequence with its adapters, and more: pressure from extreme to none.
    private static readonly Gen<SchedulerLimits> GenLimits =
        from tokensPerPage in Gen.Int[0, 4].Select(power => 1 << power)
        from extra in Gen.Int[0, 60]
        from sequences in Gen.Int[1, 12]
        from rows in Gen.Int[1, 12]
        from batchTokens in Gen.Int[1, 64]
        from chunk in Gen.Int[1, 32]
        select new SchedulerLimits
        {
            TokensPerPage = tokensPerPage,
            TotalPages = PageBudget.PagesFor(100, tokensPerPage) + 6 + extra,
            MaxSequences = Math.Max(sequences, rows),
            MaxBatchRows = rows,
            MaxBatchTokens = batchTokens,
            PrefillChunkTokens = chunk,
        };

    private static readonly Gen<(Job[] Jobs, SchedulerLimits Limits)> GenLoad = Gen.Select(GenJob.Array[1, 30], GenLimits);

    [Fact]
    public void Every_request_ends_under_any_page_pressure_and_no_plan_breaks_a_rule() =>
        GenLoad.Sample(load =>
        {
            var jobs = load.Jobs.OrderBy(job => job.ArrivesAt).ToArray();
            var drive = new Drive(load.Limits, adapter => 1 + adapter % 3);
            drive.Run(jobs);

            Assert.Equal(jobs.Length, drive.FinishOrder.Count);
            Assert.Equal(0, drive.Engine.NumSequences);
            Assert.Equal(0, drive.Engine.KvPages);
            Assert.True(drive.Scheduler.IsIdle);
            Assert.Equal(0, drive.Scheduler.RowsInFlight);
            Assert.Equal(0, drive.Scheduler.Adapters.HeldPages);
            for (var i = 0; i < jobs.Length; i++)
            {
                var expected = Math.Min(jobs[i].StopAfter, jobs[i].Output);
                var sampled = drive.Sampled[(ulong)i + 1];
                Assert.True(jobs[i].CancelAt >= 0 ? sampled <= expected : sampled == expected, $"job {i}: {sampled} of {expected} tokens");
            }
        }, iter: 3000);

    [Fact]
    public void Nobody_is_admitted_before_one_who_came_earlier() =>
        GenLoad.Sample(load =>
        {
            var jobs = load.Jobs.Select(job => job with { CancelAt = -1 }).OrderBy(job => job.ArrivesAt).ToArray();
            var drive = new Drive(load.Limits);
            drive.Run(jobs);
            Assert.Equal(Enumerable.Range(1, jobs.Length).Select(id => (ulong)id), drive.FirstAdmissions);
        }, iter: 500);
}
