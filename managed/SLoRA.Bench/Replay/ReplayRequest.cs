// One request of a replay: what is sent and what was seen of it. Written by the target's thread until it has ended, read
// by others after that.
using System.Diagnostics;
using SLoRA.Bench.Traces;
using SLoRA.Engine;

namespace SLoRA.Bench.Replay;

internal sealed class ReplayRequest(TraceRequest trace, int index, int[] prompt, string? adapter, ReplayRun run) : ITokenObserver
{
    public TraceRequest Trace => trace;

    public int Index => index;

    public int[] Prompt => prompt;

    /// null: the base model.
    public string? Adapter => adapter;

    /// Stopwatch timestamps; 0: not yet.
    public long SentAt { get; set; }

    public long FirstTokenAt { get; private set; }

    public long LastTokenAt { get; private set; }

    public int NumTokens { get; private set; }

    /// Tokens that came inside the run's window.
    public int WindowTokens { get; private set; }

    public bool IsDone { get; private set; }

    public Exception? Error { get; private set; }

    /// All its tokens came.
    public bool IsCompleted => IsDone && Error is null;

    /// It ended because the replay did.
    public bool IsStopped => Error is OperationCanceledException;

    /// From its place in the trace, not from when it was sent: a late client is no excuse.
    public double FirstTokenSeconds => run.SecondsOf(FirstTokenAt) - trace.Seconds;

    public double LatencySeconds => run.SecondsOf(LastTokenAt) - trace.Seconds;

    /// Mean gap between its tokens; NaN for fewer than two.
    public double SecondsPerToken => NumTokens < 2 ? double.NaN : Stopwatch.GetElapsedTime(FirstTokenAt, LastTokenAt).TotalSeconds / (NumTokens - 1);

    public void OnTokens(int numTokens, bool isLast, Exception? error)
    {
        if (numTokens > 0)
        {
            var now = Stopwatch.GetTimestamp();
            FirstTokenAt = FirstTokenAt == 0 ? now : FirstTokenAt;
            LastTokenAt = now;
            NumTokens += numTokens;
            if (run.IsInWindow(now))
            {
                WindowTokens += numTokens;
            }

            run.CountTokens(numTokens);
        }

        if (isLast && !IsDone)
        {
            Error = error;
            IsDone = true;
            run.CountEnd();
        }
    }

    /// The true number of tokens where pieces of text do not tell: from the server's own count at the end.
    public void CorrectTokens(int numTokens) => NumTokens = numTokens;
}
