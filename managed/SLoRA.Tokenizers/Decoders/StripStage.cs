// Takes up to `start` and `stop` characters off the ends: of the whole text after Fuse, else of each piece.

namespace SLoRA.Tokenizers.Decoders;

internal sealed class StripPiecesStage(DecoderStage next, char content, int start, int stop) : DecoderStage(next)
{
    internal override void Accept(string piece)
    {
        int from = 0;
        while (from < start && from < piece.Length && piece[from] == content)
        {
            from++;
        }

        int to = piece.Length;
        while (piece.Length - to < stop && to > from && piece[to - 1] == content)
        {
            to--;
        }

        Emit(piece[from..to]);
    }
}

internal sealed class StripTextStage(DecoderStage next, char content, int start, int stop) : DecoderStage(next)
{
    // Characters taken off the front so far; `start` once the text has begun.
    private int _taken;

    // A run of `content` at the end so far, of which Finish takes off up to `stop`.
    private int _held;

    internal override void Accept(string piece)
    {
        int from = 0;
        while (_taken < start && from < piece.Length)
        {
            if (piece[from] != content)
            {
                _taken = start;
                break;
            }

            from++;
            _taken++;
        }

        string rest = piece[from..];
        if (stop == 0)
        {
            Emit(rest);
            return;
        }

        string body = rest.TrimEnd(content);
        if (body.Length > 0)
        {
            Emit(new string(content, _held));
            _held = 0;
            Emit(body);
        }

        _held += rest.Length - body.Length;
    }

    internal override void Finish()
    {
        Emit(new string(content, Math.Max(0, _held - stop)));
        _held = 0;
        _taken = 0;
        base.Finish();
    }
}
