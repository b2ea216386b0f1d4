// Says every few seconds, and at the end, how far something of many parts is and how long it will take at that pace. For
// where there is no terminal.
using SLoRA.Bench.Statistics;

namespace SLoRA.Cli.Display;

internal sealed class PartLines(TextWriter output, TimeProvider time) : IProgress<PartProgress>
{
    private static readonly TimeSpan s_interval = TimeSpan.FromSeconds(5);

    private readonly Lock _gate = new();
    private readonly long _startedAt = time.GetTimestamp();
    private TimeSpan _next;
    private bool _isEnded;

    public void Report(PartProgress value)
    {
        lock (_gate)
        {
            var elapsed = time.GetElapsedTime(_startedAt);
            var isEnd = value.Done >= value.Total;
            if (isEnd ? _isEnded : elapsed < _next)
            {
                return;
            }

            _next = elapsed + s_interval;
            _isEnded = isEnd;
            output.WriteLine(Describe(value) + (isEnd || value.Done == 0 ? "" : $", about {elapsed.TotalSeconds / value.Done * (value.Total - value.Done):F0} s left"));
        }
    }

    public static string Describe(in PartProgress value) => $"{value.Done} of {value.Total} {value.Part}";
}
