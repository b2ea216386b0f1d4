// Who gives its pages back when they run out.
using SLoRA.Scheduling.Planning;

namespace SLoRA.Scheduling.Fairness;

internal interface IPreemptionPolicy
{
    /// The running sequence to preempt so that `needy` can go on; `needy` itself if it should wait; null if there is
    /// nobody. `needy` is null when the engine deferred a whole plan. `running` is in order of admission.
    ScheduledSequence? PickVictim(List<ScheduledSequence> running, ScheduledSequence? needy);
}
