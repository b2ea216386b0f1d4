// Token id → text, and which ids are special. Immutable; built once by the loader.

namespace SLoRA.Tokenizers;

internal sealed class TokenTable
{
    // A hole in the ids (some vocabularies have them) is null.
    private readonly string?[] _texts;
    private readonly bool[] _special;

    internal TokenTable(IReadOnlyDictionary<string, int> vocabulary, IEnumerable<AddedTokens.AddedToken> added)
    {
        AddedTokens.AddedToken[] addedTokens = [.. added];
        int count = 0;
        foreach (int id in vocabulary.Values)
        {
            count = Math.Max(count, id + 1);
        }

        foreach (AddedTokens.AddedToken token in addedTokens)
        {
            count = Math.Max(count, token.Id + 1);
        }

        _texts = new string?[count];
        _special = new bool[count];
        foreach ((string text, int id) in vocabulary)
        {
            _texts[id] = text;
        }

        foreach (AddedTokens.AddedToken token in addedTokens)
        {
            _texts[token.Id] = token.Content;
            _special[token.Id] = token.IsSpecial;
        }
    }

    internal int Count => _texts.Length;

    internal bool Contains(int id) => (uint)id < (uint)_texts.Length && _texts[id] is not null;

    internal string Text(int id) => _texts[id] ?? "";

    internal bool IsSpecial(int id) => (uint)id < (uint)_special.Length && _special[id];
}
