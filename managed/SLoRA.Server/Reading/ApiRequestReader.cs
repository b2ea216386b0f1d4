// JSON bodies to requests: OpenAI's fields, vLLM's extras, and nothing silently dropped.
using System.Text.Json;

namespace SLoRA.Server.Reading;

internal sealed class ApiRequestReader(SLoRAEngine engine, SLoRAServerOptions options)
{
    // OpenAI's default for the older endpoint; chat goes on to the end of the context.
    private const int DefaultCompletionTokens = 16;

    public ApiRequest ReadCompletion(JsonElement root)
    {
        var fields = new FieldReader(root);
        var prompts = ReadPrompts(fields.Take("prompt"));
        var logprobs = fields.TakeInt("logprobs");
        var maxTokens = fields.TakeInt("max_tokens") ?? DefaultCompletionTokens;
        return Finish(fields, isChat: false, prompts, logprobs, maxTokens);
    }

    public ApiRequest ReadChat(JsonElement root)
    {
        var fields = new FieldReader(root);
        var prompt = ReadMessages(fields.Take("messages"));
        var maxTokens = fields.TakeInt("max_tokens");
        return Finish(fields, isChat: true, [prompt], ReadChatLogprobs(fields), fields.TakeInt("max_completion_tokens") ?? maxTokens);
    }

    private ApiRequest Finish(FieldReader fields, bool isChat, List<Prompt> prompts, int? logprobs, int? maxTokens)
    {
        var model = fields.TakeText("model") ?? engine.Info.ModelName;
        var numChoices = fields.TakeInt("n") ?? 1;
        RefuseBestOf(fields, numChoices);
        var template = new GenerationRequest
        {
            Prompt = prompts[0],
            Adapters = AdaptersOf(model),
            Sampling = ReadSampling(fields) with { NumLogprobs = logprobs },
            MaxOutputTokens = maxTokens,
            NumChoices = numChoices,
            StopSequences = fields.TakeTexts("stop"),
            StopTokenIds = fields.TakeInts("stop_token_ids"),
            IgnoreEos = fields.TakeFlag("ignore_eos"),
            SkipSpecialTokens = fields.Take("skip_special_tokens") is not { ValueKind: JsonValueKind.False },
        };
        var stream = fields.TakeFlag("stream");
        var request = new ApiRequest
        {
            IsChat = isChat,
            Model = model,
            Generations = [.. prompts.Select(prompt => template with { Prompt = prompt })],
            Stream = stream,
            IncludeUsage = ReadIncludeUsage(fields, stream),
            ReturnTokenIds = fields.TakeFlag("return_token_ids"),
        };
        fields.RefuseRest();
        return request;
    }

    private AdapterWeight[] AdaptersOf(string model)
    {
        if (model == engine.Info.ModelName)
        {
            return [];
        }

        // Whether there is one is asked when the request is known to be valid: a resolver may have to look for it.
        return AdapterSource.IsValidName(model) ? [new AdapterWeight(model)] : throw ApiException.ModelNotFound(model);
    }

    private static SamplingOptions ReadSampling(FieldReader fields) => new()
    {
        Temperature = fields.TakeFloat("temperature", 1f),
        TopP = fields.TakeFloat("top_p", 1f),

        // vLLM writes "off" as -1.
        TopK = fields.TakeInt("top_k") is { } topK ? (topK == -1 ? 0 : topK) : 0,
        MinP = fields.TakeFloat("min_p", 0f),
        TypicalP = fields.TakeFloat("typical_p", 1f),
        RepetitionPenalty = fields.TakeFloat("repetition_penalty", 1f),
        PresencePenalty = fields.TakeFloat("presence_penalty", 0f),
        FrequencyPenalty = fields.TakeFloat("frequency_penalty", 0f),
        LogitBias = fields.TakeBias("logit_bias"),
        Seed = fields.TakeSeed("seed"),
    };

    private static void RefuseBestOf(FieldReader fields, int numChoices)
    {
        if (fields.TakeInt("best_of") is { } bestOf && bestOf != numChoices)
        {
            throw ApiException.Invalid($"best_of is {bestOf}; only n, {numChoices}, is supported", "best_of");
        }
    }

    private static bool ReadIncludeUsage(FieldReader fields, bool stream)
    {
        if (fields.Take("stream_options") is not { } value)
        {
            return false;
        }

        if (value.ValueKind != JsonValueKind.Object)
        {
            throw FieldReader.Wrong(value, "stream_options", "an object");
        }

        if (!stream)
        {
            throw ApiException.Invalid("stream_options is set; it needs stream to be true", "stream_options");
        }

        return new FieldReader(value).TakeFlag("include_usage");
    }

    private static int? ReadChatLogprobs(FieldReader fields)
    {
        var wanted = fields.TakeFlag("logprobs");
        var top = fields.TakeInt("top_logprobs");
        if (top is not null && !wanted)
        {
            throw ApiException.Invalid($"top_logprobs is {top}; it needs logprobs to be true", "top_logprobs");
        }

        return wanted ? top ?? 0 : null;
    }

    private List<Prompt> ReadPrompts(JsonElement? prompt)
    {
        if (prompt is not { } value)
        {
            throw ApiException.Invalid("prompt is missing", "prompt");
        }

        var prompts = ReadPromptForms(value);
        if (prompts.Count == 0 || prompts.Count > options.MaxPrompts)
        {
            throw ApiException.Invalid($"prompt has {prompts.Count} prompts; it must have 1 to {options.MaxPrompts}", "prompt");
        }

        return prompts;
    }

    // A string, an array of strings, an array of token ids, or an array of those.
    private static List<Prompt> ReadPromptForms(JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.String)
        {
            return [Prompt.FromText(FieldReader.Text(value, "prompt"))];
        }

        if (value.ValueKind != JsonValueKind.Array)
        {
            throw FieldReader.Wrong(value, "prompt", "a string, an array of strings, an array of token ids, or an array of such arrays");
        }

        if (value.GetArrayLength() > 0 && value[0].ValueKind == JsonValueKind.Number)
        {
            return [Prompt.FromTokens(FieldReader.Ints(value, "prompt"))];
        }

        return [.. value.EnumerateArray().Select(ReadPrompt)];
    }

    private static Prompt ReadPrompt(JsonElement item) => item.ValueKind switch
    {
        JsonValueKind.String => Prompt.FromText(FieldReader.Text(item, "prompt")),
        JsonValueKind.Array => Prompt.FromTokens(FieldReader.Ints(item, "prompt")),
        _ => throw FieldReader.Wrong(item, "prompt", "a string or an array of token ids"),
    };

    private static Prompt ReadMessages(JsonElement? messages)
    {
        if (messages is not { ValueKind: JsonValueKind.Array } array)
        {
            throw messages is { } other ? FieldReader.Wrong(other, "messages", "an array of messages") : ApiException.Invalid("messages is missing", "messages");
        }

        return Prompt.FromChat([.. array.EnumerateArray().Select(ReadMessage)]);
    }

    private static PromptMessage ReadMessage(JsonElement item)
    {
        if (item.ValueKind != JsonValueKind.Object)
        {
            throw FieldReader.Wrong(item, "messages", "an array of objects");
        }

        var fields = new FieldReader(item);
        var role = fields.TakeText("role") ?? throw ApiException.Invalid("a message has no role", "messages");
        if (fields.Take("tool_calls") is { ValueKind: JsonValueKind.Array } calls && calls.GetArrayLength() > 0)
        {
            throw ApiException.Invalid("a message has tool_calls; tools are not supported", "messages");
        }

        return new PromptMessage(role == "developer" ? "system" : role, ReadContent(fields.Take("content")));
    }

    private static string ReadContent(JsonElement? content) => content switch
    {
        { ValueKind: JsonValueKind.String } text => FieldReader.Text(text, "messages"),
        { ValueKind: JsonValueKind.Array } parts => string.Concat(parts.EnumerateArray().Select(ReadPart)),
        null => throw ApiException.Invalid("a message has no content", "messages"),
        { } other => throw FieldReader.Wrong(other, "messages", "messages whose content is a string or an array of parts"),
    };

    private static string ReadPart(JsonElement part)
    {
        if (part.ValueKind != JsonValueKind.Object)
        {
            throw FieldReader.Wrong(part, "messages", "messages whose parts are objects");
        }

        var fields = new FieldReader(part);
        var type = fields.TakeText("type");
        return type == "text" && fields.TakeText("text") is { } text
            ? text
            : throw ApiException.Invalid($"a message has a part of type '{ApiException.Shorten(type ?? string.Empty)}'; only text is supported", "messages");
    }
}
