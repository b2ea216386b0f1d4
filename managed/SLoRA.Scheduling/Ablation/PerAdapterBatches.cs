// One adapter at a time, as systems without mixed batches do it: a static batch of requests that name the head's adapters,
// nothing beside it, and nothing added once it runs. For the comparison table of the benchmarks.
using SLoRA.Scheduling.Admission;
using SLoRA.Scheduling.Planning;

namespace SLoRA.Scheduling.Ablation;

internal sealed class PerAdapterBatches : IAdmissionPolicy
{
    private AdapterUse[] _adapters = [];
    private bool _isForming;

    public int Pick(WaitingQueue queue, in AdmissionRoom room)
    {
        if (queue.Count == 0)
        {
            _isForming = false;
            return -1;
        }

        if (room.IsIdle)
        {
            _adapters = queue[0].Adapters.ToArray();
            _isForming = true;
            return room.Fits(queue[0]) ? 0 : -1;
        }

        for (var i = 0; i < queue.Count; i++)
        {
            // One of the batch that gave its pages back comes back to it.
            var isOurs = queue[i].Adapters.SequenceEqual(_adapters) && (_isForming || queue[i].HasSlot);
            if (isOurs && room.Fits(queue[i]))
            {
                return i;
            }
        }

        _isForming = false;
        return -1;
    }
}
