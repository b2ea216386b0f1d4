// What tests hang into the loop: told after each collected step what the loop's thread has allocated so far.
using SLoRA.Engine.Native;
using SLoRA.Scheduling.Planning;

namespace SLoRA.Engine.Loop;

internal sealed class StepProbe(int capacity) : IStepObserver
{
    private readonly long[] _allocatedBytes = new long[capacity];
    private int _count;

    public int Count => Volatile.Read(ref _count);

    public long this[int stepIndex] => _allocatedBytes[stepIndex];

    public void OnStep(BatchPlan plan, StepOutcome outcome)
    {
        if (_count < _allocatedBytes.Length)
        {
            _allocatedBytes[_count] = GC.GetAllocatedBytesForCurrentThread();
            Volatile.Write(ref _count, _count + 1);
        }
    }
}
