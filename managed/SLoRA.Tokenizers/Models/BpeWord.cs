// The symbols of one piece while its pairs are merged: a doubly linked list in an array plus a heap of candidate pairs.
// One object serves a whole text, so words cost no allocation.

namespace SLoRA.Tokenizers.Models;

internal sealed class BpeWord
{
    private const int None = -1;

    // Words shorter than this are merged by scanning: the heap only pays for long ones.
    private const int ScanLimit = 24;

    private readonly PriorityQueue<(int Position, int MergedId), ulong> _candidates = new();
    private Symbol[] _symbols = new Symbol[64];
    private int _count;

    private struct Symbol
    {
        public int Id;
        public int Start;
        public int End;
        public int Previous;
        public int Next;
        public bool Merged;
    }

    internal void Clear()
    {
        _count = 0;
        _candidates.Clear();
    }

    // Adds a symbol that stands for the positions [start, end) of the piece.
    internal void Add(int id, int start, int end)
    {
        if (_count == _symbols.Length)
        {
            Array.Resize(ref _symbols, _count * 2);
        }

        _symbols[_count] = new Symbol { Id = id, Start = start, End = end, Previous = _count - 1, Next = _count + 1 };
        _count++;
    }

    // Merges until no pair of neighbours is in the table: lowest rank first, on ties the left-most pair.
    // Cost: O(n log n) for long words, however often one letter repeats.
    internal void MergeAll(MergeTable merges)
    {
        if (_count == 0)
        {
            return;
        }

        _symbols[_count - 1].Next = None;
        if (_count <= ScanLimit)
        {
            MergeByScanning(merges);
        }
        else
        {
            MergeByHeap(merges);
        }
    }

    internal void CopyTo(List<SymbolSpan> output)
    {
        for (int at = _count == 0 ? None : 0; at != None; at = _symbols[at].Next)
        {
            output.Add(new SymbolSpan(_symbols[at].Id, _symbols[at].Start, _symbols[at].End));
        }
    }

    private void MergeByScanning(MergeTable merges)
    {
        while (true)
        {
            int best = None;
            int bestRank = int.MaxValue;
            int bestId = None;
            for (int at = 0; _symbols[at].Next != None; at = _symbols[at].Next)
            {
                int right = _symbols[_symbols[at].Next].Id;
                if (merges.TryGet(_symbols[at].Id, right, out int rank, out int mergedId) && rank < bestRank)
                {
                    (best, bestRank, bestId) = (at, rank, mergedId);
                }
            }

            if (best == None)
            {
                return;
            }

            Merge(best, bestId);
        }
    }

    private void MergeByHeap(MergeTable merges)
    {
        for (int at = 0; at < _count - 1; at++)
        {
            Offer(merges, at);
        }

        while (_candidates.TryDequeue(out (int Position, int MergedId) candidate, out _))
        {
            // The heap keeps candidates whose symbols have changed since; the table tells whether this one still holds.
            ref Symbol left = ref _symbols[candidate.Position];
            if (left.Merged || left.Next == None
                || !merges.TryGet(left.Id, _symbols[left.Next].Id, out _, out int mergedId)
                || mergedId != candidate.MergedId)
            {
                continue;
            }

            Merge(candidate.Position, mergedId);
            Offer(merges, candidate.Position);
            if (left.Previous != None)
            {
                Offer(merges, left.Previous);
            }
        }
    }

    private void Offer(MergeTable merges, int position)
    {
        int next = _symbols[position].Next;
        if (next != None && merges.TryGet(_symbols[position].Id, _symbols[next].Id, out int rank, out int mergedId))
        {
            _candidates.Enqueue((position, mergedId), ((ulong)(uint)rank << 32) | (uint)position);
        }
    }

    private void Merge(int position, int mergedId)
    {
        ref Symbol left = ref _symbols[position];
        ref Symbol right = ref _symbols[left.Next];
        left.Id = mergedId;
        left.End = Math.Max(left.End, right.End);
        left.Next = right.Next;
        right.Merged = true;
        if (right.Next != None)
        {
            _symbols[right.Next].Previous = position;
        }
    }
}
