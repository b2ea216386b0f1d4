// One sample a step, taken on the engine's loop: batch and pool over time at full resolution. The only allocation is the
// doubling of the array.
using System.Diagnostics;
using SLoRA.Engine.Loop;
using SLoRA.Engine.Native;
using SLoRA.Scheduling.Planning;

namespace SLoRA.Bench.Replay;

internal readonly record struct StepSample(
    long Timestamp, int Rows, int DecodeRows, int Tokens, int Adapters, long DeviceNs, int FreePages, int KvPages, int AdapterPages, int ResidentAdapters);

internal sealed class StepRecorder : IStepObserver
{
    private StepSample[] _samples = new StepSample[1 << 14];
    private int _count;

    public ReadOnlySpan<StepSample> Samples => _samples.AsSpan(0, Volatile.Read(ref _count));

    public void OnStep(BatchPlan plan, StepOutcome outcome)
    {
        if (_count == _samples.Length)
        {
            Array.Resize(ref _samples, _samples.Length * 2);
        }

        var pool = outcome.Pool;
        _samples[_count] = new StepSample(
            Stopwatch.GetTimestamp(), plan.NumRows, DecodeRows(plan), plan.NumTokens, plan.NumAdapters, outcome.DeviceNs, pool.FreePages, pool.KvPages, pool.AdapterPages, pool.ResidentAdapters);
        Volatile.Write(ref _count, _count + 1);
    }

    // A prompt's last chunk of one token counts too: it is rare and costs the same.
    private static int DecodeRows(BatchPlan plan)
    {
        var count = 0;
        foreach (ref readonly var row in plan.Rows)
        {
            count += row is { NumTokens: 1, FirstToken: > 0, Sample: true } ? 1 : 0;
        }

        return count;
    }
}
