// The clock and the counts of one replay, shared by its requests.
using System.Diagnostics;

namespace SLoRA.Bench.Replay;

internal sealed class ReplayRun(ReplayWindow window)
{
    private long _startedAt;
    private long _windowFrom = long.MaxValue;
    private long _windowTo;
    private long _tokens;
    private int _ended;
    private volatile int _expected = int.MaxValue;
    private readonly TaskCompletionSource _allEnded = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public ReplayWindow Window => window;

    public int Ended => Volatile.Read(ref _ended);

    public long Tokens => Interlocked.Read(ref _tokens);

    public double Seconds => SecondsOf(Stopwatch.GetTimestamp());

    /// Completes when as many requests as were promised to ExpectEnds have ended.
    public Task AllEnded => _allEnded.Task;

    public void Start()
    {
        _startedAt = Stopwatch.GetTimestamp();
        _windowFrom = _startedAt + (long)(window.FromSeconds * Stopwatch.Frequency);
        _windowTo = _startedAt + (long)(window.ToSeconds * Stopwatch.Frequency);
    }

    public double SecondsOf(long timestamp) => (timestamp - _startedAt) / (double)Stopwatch.Frequency;

    public bool IsInWindow(long timestamp) => timestamp >= _windowFrom && timestamp < _windowTo;

    public void CountTokens(int numTokens) => Interlocked.Add(ref _tokens, numTokens);

    public void CountEnd()
    {
        Interlocked.Increment(ref _ended);
        LookForEnd();
    }

    public void ExpectEnds(int count)
    {
        _expected = count;
        LookForEnd();
    }

    private void LookForEnd()
    {
        if (Ended >= _expected)
        {
            _allEnded.TrySetResult();
        }
    }
}
