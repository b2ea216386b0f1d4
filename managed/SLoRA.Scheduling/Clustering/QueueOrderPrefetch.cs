// The adapters of the queue's head, in its order: they are needed soonest.
using SLoRA.Scheduling.Admission;

namespace SLoRA.Scheduling.Clustering;

internal sealed class QueueOrderPrefetch : IPrefetchPolicy
{
    // Looking further than this costs time each step and would prefetch what is evicted before its turn.
    private const int Window = 64;

    public int Choose(WaitingQueue queue, ulong planIndex, Span<ulong> adapterIds)
    {
        var count = 0;
        for (var i = 0; i < Math.Min(queue.Count, Window); i++)
        {
            foreach (var adapter in queue[i].Adapters)
            {
                if (adapter.WantedByPlan == planIndex)
                {
                    continue;
                }

                if (count == adapterIds.Length)
                {
                    return count;
                }

                adapter.WantedByPlan = planIndex;
                adapterIds[count++] = adapter.Id;
            }
        }

        return count;
    }
}
