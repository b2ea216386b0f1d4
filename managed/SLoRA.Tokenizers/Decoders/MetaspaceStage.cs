// Metaspace back to spaces; the first token loses the one that encoding put in front.

namespace SLoRA.Tokenizers.Decoders;

internal sealed class MetaspaceStage(DecoderStage next, string replacement, bool prepends) : DecoderStage(next)
{
    private bool _started;

    internal override void Accept(string piece)
    {
        // The library drops every replacement character of the first token, not only the leading one.
        string space = prepends && !_started ? "" : " ";
        _started = true;
        Emit(piece.Replace(replacement, space, StringComparison.Ordinal));
    }

    internal override void Finish()
    {
        _started = false;
        base.Finish();
    }
}
