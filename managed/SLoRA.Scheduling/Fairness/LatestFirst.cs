// The latest admitted gives way: it has the least to compute again, and the oldest always goes on, so every sequence
// ends in its turn.
using SLoRA.Scheduling.Planning;

namespace SLoRA.Scheduling.Fairness;

internal sealed class LatestFirst : IPreemptionPolicy
{
    public ScheduledSequence? PickVictim(List<ScheduledSequence> running, ScheduledSequence? needy)
    {
        for (var i = running.Count - 1; i >= 0; i--)
        {
            if (running[i].Phase == SequencePhase.Running)
            {
                return running[i];
            }
        }

        return null;
    }
}
