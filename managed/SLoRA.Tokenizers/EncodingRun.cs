// The mutable work of encoding one text: scratch buffers and the tokens so far.

using SLoRA.Tokenizers.Loading;
using SLoRA.Tokenizers.Models;
using SLoRA.Tokenizers.Normalizers;
using SLoRA.Tokenizers.PreTokenizers;

namespace SLoRA.Tokenizers;

internal sealed class EncodingRun(TokenizerParts parts)
{
    private readonly BpeWord _word = new();
    private readonly List<Piece> _pieces = [];
    private readonly List<SymbolSpan> _symbols = [];

    internal List<TokenPiece> Output { get; } = [];

    // Text without added tokens.
    internal void EncodePlain(NormalizedText text)
    {
        _pieces.Clear();
        parts.PreTokenizer.Split(Piece.Whole(text), _pieces);
        foreach (Piece piece in _pieces)
        {
            _symbols.Clear();
            parts.Model.Encode(piece.Span, _word, _symbols);
            foreach (SymbolSpan symbol in _symbols)
            {
                Output.Add(new TokenPiece(
                    symbol.Id,
                    piece.Source.OriginalStart(piece.Start + symbol.Start),
                    piece.Source.OriginalEnd(piece.Start + symbol.End - 1)));
            }
        }
    }
}
