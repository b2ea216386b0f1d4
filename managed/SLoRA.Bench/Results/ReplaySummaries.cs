// From the records of a replay to its numbers.
using SLoRA.Bench.Replay;
using SLoRA.Bench.Statistics;
using SLoRA.Bench.Traces;

namespace SLoRA.Bench.Results;

internal static class ReplaySummaries
{
    private const int MaxPoints = 240;

    public static TraceSummary Of(Trace trace) =>
        new(trace.Name, trace.Requests.Count, trace.NumAdapters, trace.DistinctAdapters, trace.PromptTokens, trace.OutputTokens, trace.LastSeconds);

    public static ReplaySummary Of(Replayer replayer, ReplayOptions options)
    {
        var sent = replayer.Requests.Where(request => request.SentAt > 0).ToArray();
        var wall = replayer.WallSeconds;
        var completed = sent.Where(request => request.IsCompleted).ToArray();
        var failed = sent.Where(request => request is { IsDone: true, Error: not null, IsStopped: false }).ToArray();
        var stopped = sent.Count(request => request.IsStopped);
        var started = sent.Where(request => request.FirstTokenAt > 0).ToArray();
        var tokens = sent.Sum(request => (long)request.NumTokens);
        return new ReplaySummary
        {
            Sent = sent.Length,
            Completed = completed.Length,
            Aborted = failed.Length,
            Stopped = stopped,
            FirstError = failed.FirstOrDefault()?.Error?.Message,
            WallSeconds = wall,
            RequestsPerSecond = completed.Length / wall,
            OutputTokensPerSecond = tokens / wall,
            TotalTokensPerSecond = (tokens + started.Sum(request => (long)request.Prompt.Length)) / wall,
            FirstToken = Distribution.Of(started.Select(request => request.FirstTokenSeconds)),
            TimePerToken = Distribution.Of(completed.Select(request => request.SecondsPerToken).Where(double.IsFinite)),
            Latency = Distribution.Of(completed.Select(request => request.LatencySeconds)),
            SloSeconds = options.SloSeconds,
            SloAttainment = Attainment(sent, options.SloSeconds, wall, stopped > 0),
            SendDelay = Distribution.Of(sent.Select(request => replayer.Run.SecondsOf(request.SentAt) - request.Trace.Seconds)),
            Window = WindowOf(sent, replayer.Run, options.Window),
        };
    }

    public static EngineSummary Of(StepRecorder steps, EngineStatistics before, EngineStatistics after, EngineInfo info, int adapterRequests, double wallSeconds)
    {
        StepSample[] samples = steps.Samples.ToArray();
        var loads = after.AdapterLoads - before.AdapterLoads;
        var hits = after.AdapterHits - before.AdapterHits;
        return new EngineSummary
        {
            TotalPages = info.TotalPages,
            TokensPerPage = info.TokensPerPage,
            PageBytes = info.PageBytes,
            AdapterLoads = loads,
            AdapterLoadBytes = after.AdapterLoadBytes - before.AdapterLoadBytes,
            AdapterHits = hits,
            StepHitRate = hits + loads == 0 ? 1 : hits / (double)(hits + loads),
            RequestHitRate = adapterRequests == 0 ? 1 : Math.Max(0, 1 - loads / (double)adapterRequests),
            AdapterEvictions = after.AdapterEvictions - before.AdapterEvictions,
            AdapterWaitedLoads = after.AdapterWaitedLoads - before.AdapterWaitedLoads,
            AdapterUnusedLoads = after.AdapterUnusedLoads - before.AdapterUnusedLoads,
            Preemptions = after.Preemptions - before.Preemptions,
            Steps = after.Steps - before.Steps,
            Tokens = after.Tokens - before.Tokens,
            LargestBatch = samples.Select(sample => sample.Rows).DefaultIfEmpty().Max(),
            LargestDecodeBatch = samples.Select(sample => sample.DecodeRows).DefaultIfEmpty().Max(),
            LargestAdaptersInStep = samples.Select(sample => sample.Adapters).DefaultIfEmpty().Max(),
            Recordings = after.Recordings,
            StartRecordings = after.StartRecordings,
            RecordingBytes = after.RecordingBytes,
            RecordingSeconds = after.RecordingTime.TotalSeconds,
            ReplayedSteps = after.ReplayedSteps - before.ReplayedSteps,
            StepMilliseconds = Distribution.Of(samples.Select(sample => sample.DeviceNs * 1e-6)),
            DecodeStepMilliseconds = Distribution.Of(samples.Where(sample => sample.DecodeRows == sample.Tokens).Select(sample => sample.DeviceNs * 1e-6)),
            DeviceBusy = samples.Sum(sample => sample.DeviceNs * 1e-9) / wallSeconds,
        };
    }

    /// At most MaxPoints intervals of equal length over the steps of a run.
    public static IReadOnlyList<TimePoint> SeriesOf(StepRecorder steps, ReplayRun run, double wallSeconds)
    {
        StepSample[] samples = steps.Samples.ToArray();
        var length = Math.Max(0.5, wallSeconds / MaxPoints);
        return [.. samples
            .Select(sample => (Sample: sample, Seconds: run.SecondsOf(sample.Timestamp)))
            .Where(step => step.Seconds >= 0)
            .GroupBy(step => (int)(step.Seconds / length))
            .Select(group => PointOf([.. group.Select(step => step.Sample)], Math.Min(wallSeconds, (group.Key + 1) * length), length))];
    }

    private static TimePoint PointOf(StepSample[] steps, double seconds, double length) => new(
        Math.Round(seconds, 3),
        Math.Round(steps.Average(step => step.Rows), 1),
        Math.Round(steps.Average(step => step.DecodeRows), 1),
        Math.Round(steps.Average(step => step.Adapters), 1),
        Math.Round(steps.Sum(step => (double)step.Tokens) / length, 1),
        Math.Round(steps.Sum(step => (double)step.DecodeRows) / length, 1),
        steps[^1].FreePages,
        steps[^1].KvPages,
        steps[^1].AdapterPages,
        steps[^1].ResidentAdapters);

    private static double Attainment(ReplayRequest[] sent, double slo, double wall, bool wasStopped)
    {
        var judged = sent.Where(request => !wasStopped || request.Trace.Seconds + slo <= wall).ToArray();
        return judged.Length == 0 ? 1 : judged.Count(request => request.FirstTokenAt > 0 && request.FirstTokenSeconds <= slo) / (double)judged.Length;
    }

    private static WindowSummary WindowOf(ReplayRequest[] sent, ReplayRun run, ReplayWindow window)
    {
        var tokens = sent.Sum(request => (long)request.WindowTokens);
        var completions = sent.Count(request => request.IsCompleted && run.IsInWindow(request.LastTokenAt));
        return new WindowSummary(window.FromSeconds, window.ToSeconds, tokens, completions, tokens / window.Seconds, completions / window.Seconds);
    }
}
