// A picture of an engine at one moment.
namespace SLoRA;

/// <summary>Counters of an engine. Pages are consistent with each other: free + kv + adapter = total.</summary>
public sealed record EngineStatistics
{
    /// <summary>Where the engine stands.</summary>
    public EngineState State { get; init; }

    /// <summary>Sequences that wait for admission.</summary>
    public int Queued { get; init; }

    /// <summary>Sequences that are admitted.</summary>
    public int Running { get; init; }

    /// <summary>Pages of the pool.</summary>
    public int TotalPages { get; init; }

    /// <summary>Pages nobody owns.</summary>
    public int FreePages { get; init; }

    /// <summary>Pages that hold keys and values.</summary>
    public int KvPages { get; init; }

    /// <summary>Pages that hold adapters.</summary>
    public int AdapterPages { get; init; }

    /// <summary>Of <see cref="AdapterPages"/>: those that could be taken for something else now.</summary>
    public int EvictablePages { get; init; }

    /// <summary>Adapters in pages.</summary>
    public int ResidentAdapters { get; init; }

    /// <summary>Adapters with an image in host memory.</summary>
    public int HostAdapters { get; init; }

    /// <summary>Bytes of those images.</summary>
    public long HostAdapterBytes { get; init; }

    /// <summary>Copies of an adapter into pages, since the start.</summary>
    public long AdapterLoads { get; init; }

    /// <summary>Bytes of those copies.</summary>
    public long AdapterLoadBytes { get; init; }

    /// <summary>Pairs of a step and an adapter of it that was resident already, since the start.</summary>
    public long AdapterHits { get; init; }

    /// <summary>Adapters whose pages were taken, since the start.</summary>
    public long AdapterEvictions { get; init; }

    /// <summary>Of <see cref="AdapterLoads"/>: those that a step's rows waited for, since the start.</summary>
    public long AdapterWaitedLoads { get; init; }

    /// <summary>Of <see cref="AdapterLoads"/>: those whose pages were taken before any step had read them, since the start.</summary>
    public long AdapterUnusedLoads { get; init; }

    /// <summary>Sequences that gave their pages back to be computed again, since the start.</summary>
    public long Preemptions { get; init; }

    /// <summary>Steps, since the start.</summary>
    public long Steps { get; init; }

    /// <summary>Tokens run in all steps, since the start.</summary>
    public long Tokens { get; init; }

    /// <summary>Recorded decode steps that are kept.</summary>
    public int Recordings { get; init; }

    /// <summary>Those that were made before the engine was ready.</summary>
    public int StartRecordings { get; init; }

    /// <summary>Device memory that the kept ones hold, on the rank where they hold most.</summary>
    public long RecordingBytes { get; init; }

    /// <summary>Time spent on recording, since the start.</summary>
    public TimeSpan RecordingTime { get; init; }

    /// <summary>Steps that were recorded, since the start.</summary>
    public long RecordingsMade { get; init; }

    /// <summary>Steps that ran as a recording, since the start.</summary>
    public long ReplayedSteps { get; init; }

    /// <summary>Rows of the last step.</summary>
    public int LastBatchRows { get; init; }

    /// <summary>Tokens of the last step.</summary>
    public int LastBatchTokens { get; init; }

    /// <summary>Distinct adapters of the last step.</summary>
    public int LastBatchAdapters { get; init; }

    /// <summary>When the engine's loop last went round.</summary>
    public DateTimeOffset LastHeartbeat { get; init; }
}
