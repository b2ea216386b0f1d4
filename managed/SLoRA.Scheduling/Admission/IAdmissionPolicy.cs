// Which waiting sequence is admitted next. Asked again after each admission, at every step, until it answers none.
namespace SLoRA.Scheduling.Admission;

internal interface IAdmissionPolicy
{
    /// The index in `queue` of the sequence to admit now, or -1. It must fit: `room.Fits(sequence)`.
    int Pick(WaitingQueue queue, in AdmissionRoom room);
}
