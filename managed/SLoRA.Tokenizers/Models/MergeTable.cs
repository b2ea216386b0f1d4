// The merges of a BPE model: a pair of ids → its rank (lower merges first) and the id of the merged token. Immutable.

namespace SLoRA.Tokenizers.Models;

internal sealed class MergeTable(int capacity)
{
    private readonly Dictionary<ulong, (int Rank, int MergedId)> _merges = new(capacity);

    // A pair that is listed twice keeps its last rank, as in the tokenizers library.
    internal void Add(int left, int right, int rank, int mergedId) => _merges[Key(left, right)] = (rank, mergedId);

    internal bool TryGet(int left, int right, out int rank, out int mergedId)
    {
        bool found = _merges.TryGetValue(Key(left, right), out (int Rank, int MergedId) merge);
        (rank, mergedId) = merge;
        return found;
    }

    // The first merge, by rank, that the other table does not have at the same rank; null where both are equal.
    internal (int Left, int Right)? FirstDifference(MergeTable other)
    {
        ulong? difference = null;
        int lowest = int.MaxValue;
        Scan(this, other);
        Scan(other, this);
        return difference is ulong key ? ((int)(key >> 32), (int)(uint)key) : null;

        void Scan(MergeTable one, MergeTable two)
        {
            foreach ((ulong pair, (int Rank, int MergedId) merge) in one._merges)
            {
                bool equal = two._merges.TryGetValue(pair, out (int Rank, int MergedId) same) && same == merge;
                if (!equal && merge.Rank < lowest)
                {
                    (lowest, difference) = (merge.Rank, pair);
                }
            }
        }
    }

    private static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;
}
