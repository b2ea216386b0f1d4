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

    private static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;
}
