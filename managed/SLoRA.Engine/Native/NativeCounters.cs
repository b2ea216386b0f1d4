// The pool's counters at one moment.
namespace SLoRA.Engine.Native;

internal readonly record struct NativeCounters
{
    public int TotalPages { get; init; }

    public int FreePages { get; init; }

    public int KvPages { get; init; }

    public int AdapterPages { get; init; }

    public int EvictablePages { get; init; }

    public int NumSequences { get; init; }

    public int ResidentAdapters { get; init; }

    public int HostAdapters { get; init; }

    public long HostAdapterBytes { get; init; }

    public long AdapterLoads { get; init; }

    public long AdapterLoadBytes { get; init; }

    public long AdapterHits { get; init; }

    public long AdapterEvictions { get; init; }

    public long AdapterWaitedLoads { get; init; }

    public long AdapterUnusedLoads { get; init; }

    public long Preemptions { get; init; }

    public long Steps { get; init; }

    public long Tokens { get; init; }

    public int Recordings { get; init; }

    public int StartRecordings { get; init; }

    public long RecordingBytes { get; init; }

    public TimeSpan RecordingTime { get; init; }

    public long RecordingsMade { get; init; }

    public long ReplayedSteps { get; init; }
}
