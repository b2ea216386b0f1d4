// The decisions that can be taken otherwise, each behind its interface.
using SLoRA.Scheduling.Admission;
using SLoRA.Scheduling.Clustering;
using SLoRA.Scheduling.Fairness;

namespace SLoRA.Scheduling.Planning;

internal sealed record SchedulerPolicies(IAdmissionPolicy Admission, IPreemptionPolicy Preemption, IPrefetchPolicy Prefetch)
{
    /// First come, first served: no policy looks at anything but the order of arrival.
    public static SchedulerPolicies FirstComeFirstServed() => new(new FirstComeFirstServed(), new LatestFirst(), new QueueOrderPrefetch());
}
