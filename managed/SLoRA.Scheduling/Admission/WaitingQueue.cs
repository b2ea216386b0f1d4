// The sequences that wait, in the order in which they should be looked at: preempted ones first, oldest first, then new
// arrivals in order of arrival. A linked list would allocate a node an entry; this is a ring that grows rarely.
using SLoRA.Scheduling.Planning;

namespace SLoRA.Scheduling.Admission;

internal sealed class WaitingQueue
{
    private ScheduledSequence?[] _ring = new ScheduledSequence?[64];
    private int _head;

    public int Count { get; private set; }

    public ScheduledSequence this[int index] => _ring[(_head + index) & (_ring.Length - 1)]!;

    public void PushBack(ScheduledSequence sequence)
    {
        EnsureRoom();
        _ring[(_head + Count++) & (_ring.Length - 1)] = sequence;
    }

    /// One that was started before comes back, to its place by age among those that did. They do not come back in order
    /// of age: a younger one with a row in flight gives way later than an older one without.
    public void Return(ScheduledSequence sequence)
    {
        EnsureRoom();
        _head = (_head - 1) & (_ring.Length - 1);
        var place = 0;
        for (; place < Count && IsBefore(this[place + 1], sequence); place++)
        {
            _ring[(_head + place) & (_ring.Length - 1)] = this[place + 1];
        }

        _ring[(_head + place) & (_ring.Length - 1)] = sequence;
        Count++;
    }

    // Whoever has a slot goes first, for it can go on without one becoming free.
    private static bool IsBefore(ScheduledSequence waiting, ScheduledSequence returning) =>
        waiting.HasSlot == returning.HasSlot ? waiting.Arrival < returning.Arrival : waiting.HasSlot;

    public void RemoveAt(int index)
    {
        // Close the gap from the nearer side's front: removals are nearly always at the head.
        for (var i = index; i > 0; i--)
        {
            _ring[(_head + i) & (_ring.Length - 1)] = this[i - 1];
        }

        _ring[_head] = null;
        _head = (_head + 1) & (_ring.Length - 1);
        Count--;
    }

    public bool Remove(ScheduledSequence sequence)
    {
        for (var i = 0; i < Count; i++)
        {
            if (ReferenceEquals(this[i], sequence))
            {
                RemoveAt(i);
                return true;
            }
        }

        return false;
    }

    private void EnsureRoom()
    {
        if (Count < _ring.Length)
        {
            return;
        }

        var larger = new ScheduledSequence?[_ring.Length * 2];
        for (var i = 0; i < Count; i++)
        {
            larger[i] = this[i];
        }

        _ring = larger;
        _head = 0;
    }
}
