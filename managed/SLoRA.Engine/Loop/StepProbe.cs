// What tests hang into the loop: told after each collected step what the loop's thread has allocated so far.
namespace SLoRA.Engine.Loop;

internal sealed class StepProbe(int capacity)
{
    private readonly long[] _allocatedBytes = new long[capacity];
    private int _count;

    public int Count => Volatile.Read(ref _count);

    public long this[int stepIndex] => _allocatedBytes[stepIndex];

    public void OnStep()
    {
        if (_count < _allocatedBytes.Length)
        {
            _allocatedBytes[_count] = GC.GetAllocatedBytesForCurrentThread();
            Volatile.Write(ref _count, _count + 1);
        }
    }
}
