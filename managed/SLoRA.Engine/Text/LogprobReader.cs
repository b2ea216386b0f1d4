// Scores of the engine to log-probabilities with text, for users.
using SLoRA.Engine.Loop;
using SLoRA.Engine.Native;
using SLoRA.Tokenizers;

namespace SLoRA.Engine.Text;

internal sealed class LogprobReader(ITokenizer tokenizer)
{
    public TokenLogprobs Read(in TokenEvent token, ReadOnlySpan<TokenScore> top)
    {
        var candidates = new TokenCandidate[top.Length];
        for (var i = 0; i < top.Length; i++)
        {
            candidates[i] = Describe(top[i].TokenId, top[i].Logprob);
        }

        return new TokenLogprobs(Describe(token.TokenId, token.Logprob), candidates);
    }

    private TokenCandidate Describe(int tokenId, float logprob)
    {
        // The model's vocabulary may be padded beyond the tokenizer's.
        var bytes = tokenId < tokenizer.VocabularySize ? tokenizer.TokenBytes(tokenId) : default;
        return new TokenCandidate(tokenId, logprob, System.Text.Encoding.UTF8.GetString(bytes.Span), bytes);
    }
}
