// What the loop publishes of itself for other threads: single numbers, each whole, not a consistent picture.
using SLoRA.Scheduling.Planning;

namespace SLoRA.Engine.Loop;

internal sealed class LoopNumbers
{
    private long _heartbeatTicks;
    private long _oldestWaitTicks;
    private int _queued;
    private int _running;
    private int _rows;
    private int _tokens;
    private int _adapters;

    public DateTimeOffset Heartbeat => new(Volatile.Read(ref _heartbeatTicks), TimeSpan.Zero);

    public TimeSpan OldestWait => new(Volatile.Read(ref _oldestWaitTicks));

    public int Queued => Volatile.Read(ref _queued);

    public int Running => Volatile.Read(ref _running);

    public int Rows => Volatile.Read(ref _rows);

    public int Tokens => Volatile.Read(ref _tokens);

    public int Adapters => Volatile.Read(ref _adapters);

    public void Beat(TimeProvider time) => Volatile.Write(ref _heartbeatTicks, time.GetUtcNow().UtcTicks);

    public void Publish(Scheduler scheduler)
    {
        Volatile.Write(ref _queued, scheduler.NumWaiting);
        Volatile.Write(ref _running, scheduler.NumRunning);
        Volatile.Write(ref _oldestWaitTicks, scheduler.OldestWait.Ticks);
    }

    public void Publish(Scheduler scheduler, BatchPlan plan)
    {
        Publish(scheduler);
        Volatile.Write(ref _rows, plan.NumRows);
        Volatile.Write(ref _tokens, plan.NumTokens);
        Volatile.Write(ref _adapters, plan.NumAdapters);
    }
}
