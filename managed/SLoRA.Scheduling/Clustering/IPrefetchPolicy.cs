// Which adapters of waiting sequences should be brought near, and kept, while others run.
using SLoRA.Scheduling.Admission;

namespace SLoRA.Scheduling.Clustering;

internal interface IPrefetchPolicy
{
    /// Writes the ids of adapters that will be needed soon to `adapterIds`, the soonest first, each once; returns how many.
    /// Resident ones too: what is named is not evicted for what is named later. `planIndex` is unique to this plan
    /// (AdapterUse.WantedByPlan).
    int Choose(WaitingQueue queue, ulong planIndex, Span<ulong> adapterIds);
}
