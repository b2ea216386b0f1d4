// Strict order of arrival: if the head does not fit, nobody behind it is looked at. That is what rules out starvation.
namespace SLoRA.Scheduling.Admission;

internal sealed class FirstComeFirstServed : IAdmissionPolicy
{
    public int Pick(WaitingQueue queue, in AdmissionRoom room) => queue.Count > 0 && room.Fits(queue[0]) ? 0 : -1;
}
