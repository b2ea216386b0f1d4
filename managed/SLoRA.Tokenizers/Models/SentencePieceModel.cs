// The pieces of a SentencePiece BPE model as merges. SentencePiece joins the neighbours whose joined text is the piece of
// the best score, left-most on ties; here every way to cut a piece into two pieces is a merge, and pieces of one score
// share a rank, on which ties go left-most too. That is the same only if no merge starts from a character that is no
// piece, so such a model is refused. User-defined pieces never merge: they are found first (see FrozenSymbols).

using System.Text;
using SLoRA.Tokenizers.AddedTokens;
using SLoRA.Tokenizers.Loading;

namespace SLoRA.Tokenizers.Models;

internal static class SentencePieceModel
{
    internal static BpeModel Make(SentencePieceFile file)
    {
        Dictionary<string, int> mergeable = new(StringComparer.Ordinal);
        // Control pieces and bytes are never found in a text, but bytes stand for its unknown characters.
        Dictionary<string, int> symbols = new(StringComparer.Ordinal);
        List<AddedToken> frozen = [];
        for (int id = 0; id < file.Pieces.Count; id++)
        {
            SentencePiece piece = file.Pieces[id];
            switch (piece.Type)
            {
                case PieceType.Normal:
                    mergeable.Add(piece.Text, id);
                    symbols.Add(piece.Text, id);
                    break;
                case PieceType.Byte:
                    symbols.Add(piece.Text, id);
                    break;
                case PieceType.UserDefined:
                    frozen.Add(new AddedToken(id, piece.Text, false, false, false, false, false));
                    break;
            }
        }

        CharacterSymbols characters = new(symbols, file.HasByteFallback, file.UnknownId, fuseUnknown: true);
        return new BpeModel(
            file.Ids,
            MakeMerges(file, mergeable),
            frozen.Count == 0 ? characters : new FrozenSymbols(characters, frozen),
            ignoreMerges: false);
    }

    private static MergeTable MakeMerges(SentencePieceFile file, Dictionary<string, int> mergeable)
    {
        Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> ids = mergeable.GetAlternateLookup<ReadOnlySpan<char>>();
        MergeTable table = new(mergeable.Count);
        int rank = -1;
        float lastScore = float.NaN;
        foreach ((string text, int id) in mergeable.OrderByDescending(item => file.Pieces[item.Value].Score))
        {
            if (file.Pieces[id].Score != lastScore)
            {
                rank++;
                lastScore = file.Pieces[id].Score;
            }

            if (Rune.GetRuneAt(text, 0).Utf16SequenceLength == text.Length)
            {
                continue;
            }

            RequireCharacters(file, text, id);
            for (int cut = 1; cut < text.Length; cut++)
            {
                if (!char.IsLowSurrogate(text[cut])
                    && ids.TryGetValue(text.AsSpan(0, cut), out int left)
                    && ids.TryGetValue(text.AsSpan(cut), out int right))
                {
                    table.Add(left, right, rank, id);
                }
            }
        }

        return table;
    }

    private static void RequireCharacters(SentencePieceFile file, string text, int id)
    {
        foreach (Rune character in text.EnumerateRunes())
        {
            if (!file.Ids.TryGetValue(character.ToString(), out int own)
                || file.Pieces[own].Type is not (PieceType.Normal or PieceType.UserDefined))
            {
                throw file.Fail(
                    $"has the character U+{character.Value:X4}, which is no piece of its own", $"pieces[{id}].piece", text);
            }
        }
    }
}
