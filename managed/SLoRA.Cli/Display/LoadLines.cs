// A load in lines, for where there is no terminal: what begins, then every few seconds how far it is and how long it will
// take at that pace. Adapters are one stage, whichever is being read.
namespace SLoRA.Cli.Display;

internal sealed class LoadLines(TextWriter output, TimeProvider time) : IProgress<LoadProgress>
{
    private const string Model = "model";
    private static readonly TimeSpan s_interval = TimeSpan.FromSeconds(5);

    private readonly Lock _gate = new();
    private string _stage = string.Empty;
    private long _total;
    private long _startedAt;
    private TimeSpan _next;
    private bool _isEnded;

    public void Report(LoadProgress value)
    {
        lock (_gate)
        {
            var isCounted = value.Stage is not (Model or LoadProgress.Recording);
            var stage = isCounted ? "adapters" : value.Stage;
            if (stage != _stage || (isCounted && value.Total != _total))
            {
                (_stage, _total, _startedAt, _next, _isEnded) = (stage, value.Total, time.GetTimestamp(), s_interval, false);
                output.WriteLine(stage == LoadProgress.Recording ? $"recording {stage}" : isCounted ? $"loading {stage}, {value.Total} in all" : $"loading {stage}");
            }

            Continue(value, isCounted);
        }
    }

    // Counts end with a line of their own.
    private void Continue(in LoadProgress value, bool isCounted)
    {
        var elapsed = time.GetElapsedTime(_startedAt);
        var isEnd = value.Done >= value.Total;
        if (value.Total == 0 || _isEnded || (elapsed < _next && !(isCounted && isEnd)))
        {
            return;
        }

        _isEnded = isEnd;
        _next = elapsed + s_interval;
        var done = isCounted ? $"{value.Done} of {value.Total}" : $"{100 * value.Done / value.Total} %";
        var left = isEnd || value.Done == 0 ? "" : $", about {elapsed.TotalSeconds / value.Done * (value.Total - value.Done):F0} s left";
        output.WriteLine($"{_stage}: {done}{left}");
    }
}
