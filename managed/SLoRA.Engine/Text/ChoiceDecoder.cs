// Tokens of one choice to text, on the consumer's side: whole characters only, nothing that may be part of a stop
// string, and nothing of the token that ended the output.
using SLoRA.Tokenizers;

namespace SLoRA.Engine.Text;

internal sealed class ChoiceDecoder(ITokenizer tokenizer, GenerationRequest request)
{
    private readonly StreamingDecoder _decoder = tokenizer.CreateStreamingDecoder(request.SkipSpecialTokens);
    private readonly StopStringMatcher? _stops = request.StopSequences.Count > 0 ? new(request.StopSequences) : null;

    /// A stop string was found, or the last token came: nothing more is to be pushed.
    public bool IsDone { get; private set; }

    public FinishReason? Finish { get; private set; }

    /// New text after one more token; `finish` as the loop gave it.
    public string Push(int tokenId, bool isStopToken, FinishReason? finish)
    {
        var text = isStopToken ? string.Empty : Match(_decoder.Push(tokenId));
        if (!IsDone && finish is not null)
        {
            text += Match(_decoder.Finish());
            text += _stops?.Finish();
            IsDone = true;
            Finish ??= finish;
        }

        return text;
    }

    private string Match(string text)
    {
        if (_stops is null || IsDone)
        {
            return IsDone ? string.Empty : text;
        }

        var visible = _stops.Push(text);
        if (_stops.Match is not null)
        {
            IsDone = true;
            Finish = FinishReason.Stop;
        }

        return visible;
    }
}
