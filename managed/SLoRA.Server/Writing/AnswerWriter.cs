// Chunks of generation to the API's objects, whole and streamed. One a request.
namespace SLoRA.Server.Writing;

internal sealed class AnswerWriter(Reading.ApiRequest request, DateTimeOffset now)
{
    private readonly string _id = (request.IsChat ? "chatcmpl-" : "cmpl-") + Guid.NewGuid().ToString("N");
    private readonly long _created = now.ToUnixTimeSeconds();
    private readonly int[] _textOffsets = new int[request.Generations.Count * request.NumChoices];

    private string ObjectName => (request.IsChat, request.Stream) switch
    {
        (true, true) => "chat.completion.chunk",
        (true, false) => "chat.completion",
        _ => "text_completion",
    };

    /// The first chunk of a chat stream: who speaks.
    public Answer Opening(int choice) => With([new AnswerChoice { Index = choice, Delta = new ChatTurn("assistant", string.Empty) }]);

    public Answer Chunk(int promptIndex, GenerationChunk chunk)
    {
        var choice = ToChoice(promptIndex, [chunk]);
        choice = request.IsChat
            ? choice with { Delta = new ChatTurn(null, chunk.Text), PromptTokenIds = null }
            : choice with { Text = chunk.Text };
        return With([choice]) with { PromptTokenIds = request is { IsChat: true, ReturnTokenIds: true } ? chunk.PromptTokenIds : null };
    }

    public Answer Usage(IEnumerable<TokenUsage> usages) => With([]) with { Usage = Sum(usages) };

    /// The whole answer from all chunks of all prompts.
    public Answer Whole(IReadOnlyList<List<GenerationChunk>> chunksByPrompt)
    {
        var choices = new List<AnswerChoice>();
        for (var prompt = 0; prompt < chunksByPrompt.Count; prompt++)
        {
            for (var i = 0; i < request.NumChoices; i++)
            {
                choices.Add(WholeChoice(prompt, [.. chunksByPrompt[prompt].Where(chunk => chunk.ChoiceIndex == i)], chunksByPrompt[prompt][0].PromptTokenIds));
            }
        }

        var usages = chunksByPrompt.Select(chunks => chunks[^1].Usage ?? default);
        var promptIds = request is { IsChat: true, ReturnTokenIds: true } ? chunksByPrompt[0][0].PromptTokenIds : null;
        return With(choices) with { Usage = Sum(usages), PromptTokenIds = promptIds };
    }

    private static UsageObject Sum(IEnumerable<TokenUsage> usages)
    {
        var all = usages.ToList();
        return new(all.Sum(usage => usage.PromptTokens), all.Sum(usage => usage.CompletionTokens), all.Sum(usage => usage.TotalTokens));
    }

    private AnswerChoice WholeChoice(int promptIndex, List<GenerationChunk> chunks, IReadOnlyList<int>? promptTokenIds)
    {
        var text = string.Concat(chunks.Select(chunk => chunk.Text));
        var choice = ToChoice(promptIndex, chunks);
        return request.IsChat
            ? choice with { Message = new ChatTurn("assistant", text), PromptTokenIds = null }
            : choice with { Text = text, PromptTokenIds = request.ReturnTokenIds ? promptTokenIds : null };
    }

    private AnswerChoice ToChoice(int promptIndex, List<GenerationChunk> chunks)
    {
        var index = promptIndex * request.NumChoices + chunks[0].ChoiceIndex;
        return new AnswerChoice
        {
            Index = index,
            Logprobs = request.HasLogprobs ? ToLogprobs(index, chunks) : null,
            FinishReason = chunks[^1].Finish switch { FinishReason.Stop => "stop", FinishReason.Length => "length", _ => null },
            TokenIds = request.ReturnTokenIds ? [.. chunks.SelectMany(chunk => chunk.TokenIds)] : null,
            PromptTokenIds = request.ReturnTokenIds ? chunks[0].PromptTokenIds : null,
        };
    }

    private LogprobsObject ToLogprobs(int index, List<GenerationChunk> chunks)
    {
        var entries = chunks.SelectMany(chunk => chunk.Logprobs ?? []).ToList();
        return request.IsChat ? new LogprobsObject { Content = [.. entries.Select(ToChatLogprob)] } : ToCompletionLogprobs(index, entries);
    }

    private LogprobsObject ToCompletionLogprobs(int index, List<TokenLogprobs> entries)
    {
        var offsets = new List<int>(entries.Count);
        foreach (var entry in entries)
        {
            offsets.Add(_textOffsets[index]);
            _textOffsets[index] += entry.Sampled.Text.Length;
        }

        return new LogprobsObject
        {
            Tokens = [.. entries.Select(entry => Name(entry.Sampled))],
            TokenLogprobs = [.. entries.Select(entry => Finite(entry.Sampled.Logprob))],
            TopLogprobs = [.. entries.Select(ToTop)],
            TextOffset = offsets,
        };
    }

    // OpenAI's map holds the sampled token too. Tokens of equal text share a key: the likelier stays.
    private static Dictionary<string, float> ToTop(TokenLogprobs entry)
    {
        var top = new Dictionary<string, float>(StringComparer.Ordinal);
        foreach (var candidate in entry.Top.Append(entry.Sampled))
        {
            top.TryAdd(Name(candidate), Finite(candidate.Logprob));
        }

        return top;
    }

    private static ChatLogprob ToChatLogprob(TokenLogprobs entry) => new(
        entry.Sampled.Text,
        Finite(entry.Sampled.Logprob),
        Bytes(entry.Sampled),
        [.. entry.Top.Select(candidate => new ChatCandidate(candidate.Text, Finite(candidate.Logprob), Bytes(candidate)))]);

    private static int[] Bytes(TokenCandidate candidate) => Array.ConvertAll(candidate.Bytes.ToArray(), value => (int)value);

    // As OpenAI and vLLM write tokens that are not text.
    private static string Name(TokenCandidate candidate) =>
        candidate.Text.Contains('\uFFFD', StringComparison.Ordinal) ? "bytes:" + string.Concat(candidate.Bytes.ToArray().Select(value => $"\\x{value:x2}")) : candidate.Text;

    // JSON has no infinity; vLLM writes this where a token was ruled out.
    private static float Finite(float logprob) => Math.Max(logprob, -9999f);

    private Answer With(IReadOnlyList<AnswerChoice> choices) => new() { Id = _id, Object = ObjectName, Created = _created, Model = request.Model, Choices = choices };
}
