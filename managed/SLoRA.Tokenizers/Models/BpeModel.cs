// Byte pair encoding: vocabulary, merges and how a piece starts. Immutable; the mutable work of one text is in BpeWord.

namespace SLoRA.Tokenizers.Models;

internal sealed class BpeModel(
    Dictionary<string, int> vocabulary,
    MergeTable merges,
    SymbolSource symbols,
    bool ignoreMerges)
{
    internal IReadOnlyDictionary<string, int> Vocabulary => vocabulary;

    internal MergeTable Merges => merges;

    internal bool TryGetId(string token, out int id) => vocabulary.TryGetValue(token, out id);

    // Appends the tokens of `piece` to `output`; `word` is scratch.
    internal void Encode(ReadOnlySpan<char> piece, BpeWord word, List<SymbolSpan> output)
    {
        if (ignoreMerges && symbols.TryGetWhole(piece, out int whole))
        {
            output.Add(new SymbolSpan(whole, 0, piece.Length));
            return;
        }

        word.Clear();
        symbols.Fill(piece, word);
        word.MergeAll(merges);
        word.CopyTo(output);
    }
}
