// A step of decoding that works on a stream: takes pieces of text, hands finished ones on, and holds back what a later
// piece could still change. Stages hold the state of one stream; DecoderPlan makes them.

using System.Text;

namespace SLoRA.Tokenizers.Decoders;

internal abstract class DecoderStage(DecoderStage? next)
{
    internal abstract void Accept(string piece);

    // The stream has ended: hand on what is held, then tell the next stage. The stage is as new afterwards.
    internal virtual void Finish() => next?.Finish();

    protected void Emit(string piece)
    {
        if (piece.Length > 0)
        {
            next?.Accept(piece);
        }
    }
}

// The last stage.
internal sealed class OutputStage(StringBuilder output) : DecoderStage(null)
{
    internal override void Accept(string piece) => output.Append(piece);
}

// Without a decoder, tokens are joined by spaces.
internal sealed class JoinStage(DecoderStage next) : DecoderStage(next)
{
    private bool _started;

    internal override void Accept(string piece)
    {
        Emit(_started ? " " + piece : piece);
        _started = true;
    }

    internal override void Finish()
    {
        _started = false;
        base.Finish();
    }
}

internal sealed class ReplaceStage(DecoderStage next, string pattern, string content) : DecoderStage(next)
{
    internal override void Accept(string piece) => Emit(piece.Replace(pattern, content, StringComparison.Ordinal));
}

// Joins all pieces to one text. The stages after it see one long text, so on a stream it hands pieces on as they are and
// tells only Strip (see DecoderTable) that pieces no longer have ends.
internal sealed class FuseStage(DecoderStage next) : DecoderStage(next)
{
    internal override void Accept(string piece) => Emit(piece);
}
