// The merges of a BPE model: a pair of ids → its rank (lower merges first) and the id of the merged token. Immutable.

namespace SLoRA.Tokenizers.Models;

internal sealed class MergeTable(int capacity)
{
    // A ulong hashes to the XOR of its halves, and ids of a vocabulary XOR to the same few values over and over: millions
    // of merges would share a bucket. An odd factor spreads the pairs and can be taken back.
    private const ulong Spread = 0x9E3779B97F4A7C15;
    private const ulong Gather = 0xF1DE83E19937733D;

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
        return difference is ulong key ? Pair(key) : null;

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

    private static ulong Key(int left, int right) => unchecked((((ulong)(uint)left << 32) | (uint)right) * Spread);

    private static (int Left, int Right) Pair(ulong key)
    {
        ulong pair = unchecked(key * Gather);
        return ((int)(pair >> 32), (int)(uint)pair);
    }
}
