// A range of a normalized text. Pieces are what the model encodes one by one.

using SLoRA.Tokenizers.Normalizers;

namespace SLoRA.Tokenizers.PreTokenizers;

internal readonly record struct Piece(NormalizedText Source, int Start, int End)
{
    internal ReadOnlySpan<char> Span => Source.Text.AsSpan(Start, End - Start);

    internal int Length => End - Start;

    internal static Piece Whole(NormalizedText text) => new(text, 0, text.Text.Length);

    internal NormalizedText ToText() => Source.Slice(Start, End);
}
