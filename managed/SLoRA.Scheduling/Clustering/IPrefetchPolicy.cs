// Which adapters of waiting sequences should be brought near while others run.
using SLoRA.Scheduling.Admission;

namespace SLoRA.Scheduling.Clustering;

internal interface IPrefetchPolicy
{
    /// Writes ids of adapters that are not resident to `adapterIds`, most wanted first; returns how many. `planIndex`
    /// is unique to this plan (AdapterUse.SeenByPlan).
    int Choose(WaitingQueue queue, ulong planIndex, Span<ulong> adapterIds);
}
