// What a replay gave, as it is written to JSON. Seconds unless a name says otherwise.
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Statistics;

namespace SLoRA.Bench.Results;

internal sealed record ReplayReport
{
    /// Raised when a field changes its meaning or goes; new fields do not raise it.
    public const string CurrentSchema = "slora-bench-replay/1";

    public string Schema { get; init; } = CurrentSchema;

    public required BenchEnvironment Environment { get; init; }

    public required string Model { get; init; }

    public required string Dtype { get; init; }

    /// "engine" or the server's address.
    public required string Target { get; init; }

    public string Mode { get; init; } = "default";

    public required TraceSummary Trace { get; init; }

    public AdapterSummary? Adapters { get; init; }

    public required ReplaySummary Results { get; init; }

    public EngineSummary? Engine { get; init; }

    public Ceilings? Ceilings { get; init; }

    public BoundSummary? Bound { get; init; }

    /// Requests a second over the bound's; of the window's completions where the replay was stopped.
    public double? ShareOfBound => Bound is null ? null
        : Results.Stopped > 0 ? Results.Window.Completions / (double)Math.Max(1, Bound.Window.Completions)
        : Results.RequestsPerSecond / Bound.RequestsPerSecond;

    public IReadOnlyList<TimePoint> Series { get; init; } = [];
}

/// Adapters: that the requests were drawn from.
internal sealed record TraceSummary(string Name, int Requests, int Adapters, int DistinctAdapters, long PromptTokens, long OutputTokens, double LastArrival);

/// Images: different weights among them. Bytes: of all images in host memory.
internal sealed record AdapterSummary(string Set, int Count, IReadOnlyList<int> LoraRanks, string Modules, int Images, long HostBytes, double LoadSeconds);

internal sealed record ReplaySummary
{
    public int Sent { get; init; }

    public int Completed { get; init; }

    /// Refused or failed.
    public int Aborted { get; init; }

    /// Unfinished when the replay was stopped.
    public int Stopped { get; init; }

    /// The first failure's message.
    public string? FirstError { get; init; }

    /// To the last token, the drain included, or to the stop.
    public double WallSeconds { get; init; }

    public double RequestsPerSecond { get; init; }

    public double OutputTokensPerSecond { get; init; }

    public double TotalTokensPerSecond { get; init; }

    public required Distribution FirstToken { get; init; }

    public required Distribution TimePerToken { get; init; }

    public required Distribution Latency { get; init; }

    public double SloSeconds { get; init; }

    /// Share of requests, of those that had the time before a stop, whose first token came within SloSeconds.
    public double SloAttainment { get; init; }

    /// How late requests were sent: the client's own fault.
    public required Distribution SendDelay { get; init; }

    public required WindowSummary Window { get; init; }
}

internal sealed record WindowSummary(double FromSeconds, double ToSeconds, long OutputTokens, int Completions, double OutputTokensPerSecond, double RequestsPerSecond);

internal sealed record EngineSummary
{
    public int TotalPages { get; init; }

    public int TokensPerPage { get; init; }

    public long PageBytes { get; init; }

    public long AdapterLoads { get; init; }

    public long AdapterLoadBytes { get; init; }

    public long AdapterHits { get; init; }

    /// Of the pairs of a step and an adapter in it: the share that needed no load.
    public double StepHitRate { get; init; }

    /// Of the requests with an adapter: 1 - loads / requests.
    public double RequestHitRate { get; init; }

    public long AdapterEvictions { get; init; }

    /// Of the loads: those that a step's rows waited for.
    public long AdapterWaitedLoads { get; init; }

    /// Of the loads: those that were evicted before any step had read them.
    public long AdapterUnusedLoads { get; init; }

    public long Preemptions { get; init; }

    public long Steps { get; init; }

    public long Tokens { get; init; }

    public int LargestBatch { get; init; }

    public int LargestDecodeBatch { get; init; }

    public int LargestAdaptersInStep { get; init; }

    /// Recorded decode steps that are kept, and those of them that were made before the engine was ready.
    public int Recordings { get; init; }

    public int StartRecordings { get; init; }

    /// Device memory that the kept ones hold.
    public long RecordingBytes { get; init; }

    /// Spent on recording and on measuring the matmuls of what is recorded, start included.
    public double RecordingSeconds { get; init; }

    /// Of the steps: those that ran as a recording.
    public long ReplayedSteps { get; init; }

    /// Milliseconds on the device.
    public required Distribution StepMilliseconds { get; init; }

    /// Milliseconds on the device of steps that only decode.
    public required Distribution DecodeStepMilliseconds { get; init; }

    /// Time in steps on the device over wall time.
    public double DeviceBusy { get; init; }
}

/// Means over one interval that ends at Seconds; pages are those at its last step.
internal sealed record TimePoint(
    double Seconds, double Rows, double DecodeRows, double Adapters, double TokensPerSecond, double OutputTokensPerSecond, int FreePages, int KvPages, int AdapterPages, int ResidentAdapters);
