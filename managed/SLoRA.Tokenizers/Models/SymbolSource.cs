// How a piece becomes the first symbols of BPE: bytes in the byte alphabet, or characters with byte fallback, among them
// SentencePiece's user-defined pieces.

using System.Buffers;
using System.Text;
using SLoRA.Tokenizers.AddedTokens;

namespace SLoRA.Tokenizers.Models;

internal abstract class SymbolSource
{
    // The id of the whole piece, for models that look it up before merging (ignore_merges).
    internal abstract bool TryGetWhole(ReadOnlySpan<char> piece, out int id);

    internal abstract void Fill(ReadOnlySpan<char> piece, BpeWord word);
}

internal sealed class ByteLevelSymbols : SymbolSource
{
    // The longest tokens of known vocabularies have some hundred bytes; longer pieces are no token.
    private const int MaxWholeBytes = 1024;
    private const int NoId = -1;

    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _vocabulary;
    private readonly int[] _byteIds = new int[256];

    internal ByteLevelSymbols(Dictionary<string, int> vocabulary)
    {
        _vocabulary = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        for (int value = 0; value < 256; value++)
        {
            string symbol = ByteAlphabet.CharOf((byte)value).ToString();
            _byteIds[value] = vocabulary.TryGetValue(symbol, out int id) ? id : NoId;
        }
    }

    internal override bool TryGetWhole(ReadOnlySpan<char> piece, out int id)
    {
        id = NoId;
        Span<byte> bytes = stackalloc byte[MaxWholeBytes];
        if (piece.Length > MaxWholeBytes || !Encoding.UTF8.TryGetBytes(piece, bytes, out int count))
        {
            return false;
        }

        Span<char> symbols = stackalloc char[MaxWholeBytes];
        for (int i = 0; i < count; i++)
        {
            symbols[i] = ByteAlphabet.CharOf(bytes[i]);
        }

        return _vocabulary.TryGetValue(symbols[..count], out id);
    }

    // A byte that the vocabulary lacks is dropped, as in the tokenizers library without an unknown token.
    internal override void Fill(ReadOnlySpan<char> piece, BpeWord word)
    {
        Span<byte> bytes = stackalloc byte[4];
        int at = 0;
        while (at < piece.Length)
        {
            Rune.DecodeFromUtf16(piece[at..], out Rune rune, out int size);
            int count = rune.EncodeToUtf8(bytes);
            foreach (byte value in bytes[..count])
            {
                if (_byteIds[value] != NoId)
                {
                    word.Add(_byteIds[value], at, at + size);
                }
            }

            at += size;
        }
    }
}

internal sealed class CharacterSymbols : SymbolSource
{
    private const int NoId = -1;

    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _vocabulary;
    private readonly int[]? _byteIds;
    private readonly int? _unknownId;
    private readonly bool _fuseUnknown;

    internal CharacterSymbols(Dictionary<string, int> vocabulary, bool byteFallback, int? unknownId, bool fuseUnknown)
    {
        _vocabulary = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        _byteIds = byteFallback ? ByteFallbackToken.IdsOf(vocabulary) : null;
        _unknownId = unknownId;
        _fuseUnknown = fuseUnknown;
    }

    internal override bool TryGetWhole(ReadOnlySpan<char> piece, out int id) => _vocabulary.TryGetValue(piece, out id);

    // An unknown character waits in `pending` for its successor (fuse_unk makes one token of a run). Byte tokens do not
    // end the wait: that is what the tokenizers library does, and ids must be equal.
    internal override void Fill(ReadOnlySpan<char> piece, BpeWord word) => Fill(piece, 0, piece.Length, word);

    // Only the part [start, stop) of the piece.
    internal void Fill(ReadOnlySpan<char> piece, int start, int stop, BpeWord word)
    {
        (int Start, int End)? pending = null;
        int at = start;
        while (at < stop)
        {
            Rune.DecodeFromUtf16(piece[at..], out Rune rune, out int size);
            int end = at + size;
            if (_vocabulary.TryGetValue(piece[at..end], out int id))
            {
                AddUnknown(word, ref pending);
                word.Add(id, at, end);
            }
            else if (!TryAddBytes(rune, at, end, word) && _unknownId is not null)
            {
                if (!_fuseUnknown)
                {
                    AddUnknown(word, ref pending);
                }

                pending = (pending?.Start ?? at, end);
            }

            at = end;
        }

        AddUnknown(word, ref pending);
    }

    private bool TryAddBytes(Rune rune, int start, int end, BpeWord word)
    {
        if (_byteIds is null)
        {
            return false;
        }

        Span<byte> bytes = stackalloc byte[4];
        bytes = bytes[..rune.EncodeToUtf8(bytes)];
        foreach (byte value in bytes)
        {
            if (_byteIds[value] == NoId)
            {
                return false;
            }
        }

        foreach (byte value in bytes)
        {
            word.Add(_byteIds[value], start, end);
        }

        return true;
    }

    private void AddUnknown(BpeWord word, ref (int Start, int End)? pending)
    {
        if (pending is var (start, end) && _unknownId is int id)
        {
            word.Add(id, start, end);
            pending = null;
        }
    }
}

// Characters, but for pieces that are found whole and never merge: the longest that begins at a character, left to right.
internal sealed class FrozenSymbols(CharacterSymbols characters, IEnumerable<AddedToken> frozen) : SymbolSource
{
    private readonly AddedTokenMatcher _matcher = new(frozen.Select(token => (token.Content, token)));

    internal override bool TryGetWhole(ReadOnlySpan<char> piece, out int id) => characters.TryGetWhole(piece, out id);

    internal override void Fill(ReadOnlySpan<char> piece, BpeWord word)
    {
        string text = piece.ToString();
        _matcher.Split(text, (token, start, end) =>
        {
            if (token is null)
            {
                characters.Fill(text, start, end, word);
            }
            else
            {
                word.Add(token.Id, start, end);
            }
        });
    }
}
