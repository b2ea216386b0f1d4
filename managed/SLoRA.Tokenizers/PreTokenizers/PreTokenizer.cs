// The pre-tokenizers this library knows: they cut a piece into smaller ones before the model sees it.
// PreTokenizerTable chooses by the name in tokenizer.json.

using SLoRA.Tokenizers.Normalizers;

namespace SLoRA.Tokenizers.PreTokenizers;

internal abstract class PreTokenizer
{
    // Adds the pieces that `piece` falls into, in order, none of them empty.
    internal abstract void Split(Piece piece, List<Piece> output);
}

internal sealed class IdentityPreTokenizer : PreTokenizer
{
    internal static readonly IdentityPreTokenizer Instance = new();

    internal override void Split(Piece piece, List<Piece> output)
    {
        if (piece.Length > 0)
        {
            output.Add(piece);
        }
    }
}

internal sealed class PreTokenizerSequence(IReadOnlyList<PreTokenizer> parts) : PreTokenizer
{
    internal override void Split(Piece piece, List<Piece> output)
    {
        List<Piece> current = [piece];
        foreach (PreTokenizer part in parts)
        {
            List<Piece> next = new(current.Count);
            foreach (Piece item in current)
            {
                part.Split(item, next);
            }

            current = next;
        }

        output.AddRange(current);
    }
}

// The ByteLevel pre-tokenizer. The byte alphabet itself is the model's business (Models/ByteLevelSymbols); here is left
// what changes the text or cuts it.
internal sealed class ByteLevelPreTokenizer(bool addPrefixSpace, PatternPreTokenizer? pattern) : PreTokenizer
{
    internal override void Split(Piece piece, List<Piece> output)
    {
        if (addPrefixSpace && piece.Length > 0 && piece.Span[0] != ' ')
        {
            piece = Piece.Whole(piece.ToText().Prepend(" "));
        }

        if (pattern is null)
        {
            IdentityPreTokenizer.Instance.Split(piece, output);
        }
        else
        {
            pattern.Split(piece, output);
        }
    }
}

internal sealed class MetaspacePreTokenizer(string replacement, MetaspacePrepend prepend, bool split) : PreTokenizer
{
    private readonly LiteralPreTokenizer _splitter = new(replacement, LiteralBehavior.MergedWithNext);

    internal override void Split(Piece piece, List<Piece> output)
    {
        NormalizedText text = piece.ToText().ReplaceAll(" ", replacement);
        bool wanted = prepend == MetaspacePrepend.Always || (prepend == MetaspacePrepend.First && text.Origin == 0);
        if (wanted && !text.Text.StartsWith(replacement, StringComparison.Ordinal))
        {
            text = text.Prepend(replacement);
        }

        PreTokenizer next = split ? _splitter : IdentityPreTokenizer.Instance;
        next.Split(Piece.Whole(text), output);
    }
}

internal enum MetaspacePrepend
{
    Never,
    First,
    Always,
}
