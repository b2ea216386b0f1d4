// One request on the consumer's side: reads its stream, decodes, and knows when every choice has ended. Single consumer.
using SLoRA.Engine.Loop;
using SLoRA.Engine.Native;
using SLoRA.Engine.Text;
using SLoRA.Tokenizers;

namespace SLoRA.Engine;

internal sealed class GenerationRun
{
    private readonly RequestTicket _ticket;
    private readonly EngineLoop _loop;
    private readonly ChoiceDecoder[] _choices;
    private readonly LogprobReader? _logprobs;
    private readonly TokenScore[] _top;
    private bool _isFirst = true;

    public GenerationRun(RequestTicket ticket, GenerationRequest request, EngineLoop loop, ITokenizer tokenizer)
    {
        _ticket = ticket;
        _loop = loop;
        _choices = new ChoiceDecoder[request.NumChoices];
        for (var i = 0; i < _choices.Length; i++)
        {
            _choices[i] = new ChoiceDecoder(tokenizer, request);
        }

        _logprobs = request.Sampling.NumLogprobs is null ? null : new LogprobReader(tokenizer);
        _top = new TokenScore[request.Sampling.NumLogprobs ?? 0];
        NumOpen = _choices.Length;
    }

    /// Choices that have not ended.
    public int NumOpen { get; private set; }

    public int NumSampled { get; private set; }

    public TokenUsage Usage => new(_ticket.PromptTokens.Length, NumSampled);

    /// The next chunk that is there without waiting, or null.
    public GenerationChunk? TryNext()
    {
        while (_ticket.Stream.TryRead(out var token, _top))
        {
            var choice = _choices[token.ChoiceIndex];
            if (!choice.IsDone)
            {
                return Next(token, choice);
            }

            // It ended by a stop string; these tokens were sampled before the loop heard of it.
        }

        return null;
    }

    private GenerationChunk Next(in TokenEvent token, ChoiceDecoder choice)
    {
        NumSampled++;
        var text = choice.Push(token.TokenId, token.IsStopToken, token.Finish);
        if (choice.IsDone)
        {
            NumOpen--;
            if (token.Finish is null)
            {
                _loop.Cancel(_ticket, token.ChoiceIndex);
            }
        }

        var chunk = new GenerationChunk
        {
            ChoiceIndex = token.ChoiceIndex,
            Text = text,
            TokenIds = [token.TokenId],
            Logprobs = _logprobs is null ? null : [_logprobs.Read(token, _top.AsSpan(0, Math.Min(token.NumTop, _top.Length)))],
            PromptTokenIds = _isFirst ? _ticket.PromptTokens : null,
            Finish = choice.Finish,
            Usage = NumOpen == 0 ? Usage : null,
        };
        _isFirst = false;
        return chunk;
    }
}
