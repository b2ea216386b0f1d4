// Split on a literal string, with the behaviours of the tokenizers library.

namespace SLoRA.Tokenizers.PreTokenizers;

internal enum LiteralBehavior
{
    Isolated,
    Removed,
    MergedWithPrevious,
    MergedWithNext,
}

internal sealed class LiteralPreTokenizer(string pattern, LiteralBehavior behavior) : PreTokenizer
{
    internal override void Split(Piece piece, List<Piece> output)
    {
        int start = 0;
        int from = 0;
        while (from < piece.Length)
        {
            int at = piece.Span[from..].IndexOf(pattern, StringComparison.Ordinal);
            if (at < 0)
            {
                break;
            }

            at += from;
            from = at + pattern.Length;
            start = Cut(piece, start, at, from, output);
        }

        Add(piece, start, piece.Length, output);
    }

    // Cuts at the match [at, end) and returns where the next piece starts.
    private int Cut(Piece piece, int start, int at, int end, List<Piece> output)
    {
        switch (behavior)
        {
            case LiteralBehavior.MergedWithPrevious:
                Add(piece, start, end, output);
                return end;
            case LiteralBehavior.MergedWithNext:
                Add(piece, start, at, output);
                return at;
            case LiteralBehavior.Isolated:
                Add(piece, start, at, output);
                Add(piece, at, end, output);
                return end;
            default:
                Add(piece, start, at, output);
                return end;
        }
    }

    private static void Add(Piece piece, int start, int end, List<Piece> output)
    {
        if (end > start)
        {
            output.Add(new Piece(piece.Source, piece.Start + start, piece.Start + end));
        }
    }
}
