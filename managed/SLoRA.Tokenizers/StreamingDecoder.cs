// Turns ids that arrive one by one into text. Owns the state of one stream (decoder stages); ITokenizer.Decode runs the
// same stages over a whole list, so both give the same text by construction.

using System.Text;
using SLoRA.Tokenizers.Decoders;

namespace SLoRA.Tokenizers;

/// <summary>
/// Decodes one stream of token ids. Never gives out half a character: bytes of an unfinished one are held back until it
/// is whole, known to be invalid (then U+FFFD), or <see cref="Finish"/> is called. Not safe for concurrent use.
/// </summary>
public sealed class StreamingDecoder
{
    private readonly TokenTable _tokens;
    private readonly bool _skipSpecialTokens;
    private readonly StringBuilder _output = new();
    private readonly DecoderStage _first;

    internal StreamingDecoder(TokenTable tokens, DecoderPlan plan, bool skipSpecialTokens)
    {
        _tokens = tokens;
        _skipSpecialTokens = skipSpecialTokens;
        _first = plan.Start(_output);
    }

    /// <summary>Adds an id and takes the text that is complete now.</summary>
    /// <param name="id">Token id; one outside the vocabulary adds nothing.</param>
    /// <returns>New text, often empty.</returns>
    public string Push(int id)
    {
        Accept(id);
        return Take();
    }

    /// <summary>Ends the stream: what was held back comes out, an unfinished character as U+FFFD.</summary>
    /// <returns>The last text, often empty. The decoder is then as new and may decode another stream.</returns>
    public string Finish()
    {
        _first.Finish();
        return Take();
    }

    internal void Accept(int id)
    {
        if (!_tokens.Contains(id) || (_skipSpecialTokens && _tokens.IsSpecial(id)))
        {
            return;
        }

        _first.Accept(_tokens.Text(id));
    }

    private string Take()
    {
        if (_output.Length == 0)
        {
            return "";
        }

        string text = _output.ToString();
        _output.Clear();
        return text;
    }
}
