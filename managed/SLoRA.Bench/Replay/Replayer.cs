// Open-loop replay: each request is sent at its time whatever became of those before, greedy, to its full output length.
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Traces;

namespace SLoRA.Bench.Replay;

internal sealed class Replayer(Trace trace, ReplayOptions options, Func<int, string?> adapterName)
{
    private static readonly TimeSpan s_progressInterval = TimeSpan.FromMilliseconds(200);

    private readonly ReplayRun _run = new(options.Window);
    private volatile bool _isStopping;
    private int _sent;

    /// The requests, in the order of the trace; made before the clock starts.
    public IReadOnlyList<ReplayRequest> Requests { get; private set; } = [];

    public ReplayRun Run => _run;

    /// Seconds from the start to the last token, or to the stop.
    public double WallSeconds { get; private set; }

    public async Task RunAsync(IReplayTarget target, IProgress<ReplayProgress>? progress, CancellationToken ct)
    {
        Requests = MakeRequests();
        _run.Start();
        var sender = new Thread(() => SendAll(target)) { IsBackground = true, Name = "SLoRA replay" };
        sender.Start();
        var stopAt = options.StopAtWindowEnd ? options.Window.ToSeconds : double.PositiveInfinity;
        while (!_run.AllEnded.IsCompleted && _run.Seconds < stopAt && !ct.IsCancellationRequested)
        {
            var left = Math.Min(s_progressInterval.TotalSeconds, Math.Max(0.001, stopAt - _run.Seconds));
            await Task.WhenAny(_run.AllEnded, Task.Delay(TimeSpan.FromSeconds(left), CancellationToken.None)).ConfigureAwait(false);
            Report(progress, stopAt);
        }

        WallSeconds = Math.Min(_run.Seconds, stopAt);
        _isStopping = true;
        await Task.Run(sender.Join, CancellationToken.None).ConfigureAwait(false);
        if (!_run.AllEnded.IsCompleted)
        {
            target.Stop();
            await _run.AllEnded.ConfigureAwait(false);
        }

        Report(progress, stopAt);
        ct.ThrowIfCancellationRequested();
    }

    private ReplayRequest[] MakeRequests()
    {
        var prompts = new PromptSource(options.PromptSeed, options.VocabularySize);
        return [.. trace.Requests.Select((request, i) => new ReplayRequest(
            request, i, prompts.Make(i, request.PromptTokens), request.Adapter < 0 ? null : adapterName(request.Adapter), _run))];
    }

    // A thread of its own: neither the pool nor a timer's queue may make an arrival late.
    private void SendAll(IReplayTarget target)
    {
        foreach (var request in Requests)
        {
            if (!TryWaitFor(request.Trace.Seconds))
            {
                break;
            }

            request.SentAt = System.Diagnostics.Stopwatch.GetTimestamp();
            Interlocked.Increment(ref _sent);
            try
            {
                target.Send(request);
            }
#pragma warning disable CA1031 // on a thread of its own nobody else would catch it
            catch (Exception error)
#pragma warning restore CA1031
            {
                request.OnTokens(0, isLast: true, error);
            }
        }

        _run.ExpectEnds(_sent);
    }

    private bool TryWaitFor(double seconds)
    {
        while (!_isStopping)
        {
            var left = seconds - _run.Seconds;
            if (left <= 0)
            {
                return true;
            }

            Thread.Sleep(Math.Clamp((int)(left * 1000), 1, 100));
        }

        return false;
    }

    private void Report(IProgress<ReplayProgress>? progress, double stopAt) =>
        progress?.Report(new ReplayProgress(Volatile.Read(ref _sent), _run.Ended, Requests.Count, _run.Seconds, _run.Tokens) { StopSeconds = stopAt });
}
