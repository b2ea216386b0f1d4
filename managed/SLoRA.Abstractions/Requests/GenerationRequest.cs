// A request as the engine takes it: prompt, adapters, sampling, and when to stop.
namespace SLoRA;

/// <summary>One request. Immutable; may be sent several times.</summary>
public sealed record GenerationRequest
{
    /// <summary>Largest number of stop strings.</summary>
    public const int MaxStopSequences = 32;

    /// <summary>Longest stop string in characters.</summary>
    public const int MaxStopSequenceLength = 1024;

    /// <summary>What the output continues.</summary>
    public required Prompt Prompt { get; init; }

    /// <summary>The adapters, each with its scale; empty is the base model.</summary>
    public IReadOnlyList<AdapterWeight> Adapters { get; init; } = [];

    /// <summary>How tokens are drawn.</summary>
    public SamplingOptions Sampling { get; init; } = SamplingOptions.Greedy;

    /// <summary>Most tokens of output of each choice, &gt;= 1; null: up to the end of the context.</summary>
    public int? MaxOutputTokens { get; init; } = 256;

    /// <summary>The output ends before the first of these strings.</summary>
    public IReadOnlyList<string> StopSequences { get; init; } = [];

    /// <summary>The output ends with any of these tokens, besides the model's own end tokens.</summary>
    public IReadOnlyList<int> StopTokenIds { get; init; } = [];

    /// <summary>true: the model's own end tokens do not end the output.</summary>
    public bool IgnoreEos { get; init; }

    /// <summary>true: special tokens are left out of the text.</summary>
    public bool SkipSpecialTokens { get; init; } = true;

    /// <summary>Independent continuations of the prompt, &gt;= 1; choice i samples with seed + i.</summary>
    public int NumChoices { get; init; } = 1;

    /// <summary>Whose request this is; carried to telemetry.</summary>
    public string? Tenant { get; init; }

    /// <summary>Throws if a value is outside its limits. The prompt's length is checked after tokenising.</summary>
    /// <param name="limits">The limits in force.</param>
    /// <exception cref="RequestInvalidException">With the option, its value and the limit.</exception>
    public void Validate(RequestLimits limits)
    {
        ArgumentNullException.ThrowIfNull(limits);
        Sampling.Validate(limits);
        ValidateAdapters();
        ValidateStops(limits);
        Check.That(MaxOutputTokens is null or >= 1, "max_tokens", $"max_tokens is {MaxOutputTokens}; it must be at least 1");
        Check.That(NumChoices >= 1 && NumChoices <= limits.MaxChoices, "n", $"n is {NumChoices}; it must be in [1, {limits.MaxChoices}]");
        ValidatePrompt(limits);
    }

    /// <summary>The room for output behind a prompt of <paramref name="promptTokens"/> tokens.</summary>
    /// <param name="promptTokens">Length of the prompt in tokens.</param>
    /// <param name="limits">The limits in force.</param>
    /// <returns>Tokens of prompt and output in all.</returns>
    /// <exception cref="RequestInvalidException">Prompt and output do not fit the context.</exception>
    public int TotalTokens(int promptTokens, RequestLimits limits)
    {
        ArgumentNullException.ThrowIfNull(limits);
        var context = limits.MaxContextTokens;
        Check.That(promptTokens >= 1, "prompt", "the prompt has no tokens; at least 1 is needed");
        Check.That(promptTokens < context, "prompt", $"the prompt has {promptTokens} tokens; the context of {context} tokens leaves room for at most {context - 1}");
        if (MaxOutputTokens is not int maxOutput)
        {
            return context;
        }

        Check.That((long)promptTokens + maxOutput <= context, "max_tokens", $"the prompt has {promptTokens} tokens and max_tokens is {maxOutput}; together they exceed the context of {context} tokens");
        return promptTokens + maxOutput;
    }

    private void ValidateAdapters()
    {
        foreach (var adapter in Adapters)
        {
            adapter.Validate();
        }

        Check.That(Adapters.DistinctBy(adapter => adapter.Name).Count() == Adapters.Count, "adapters", "adapters: an adapter is named twice; its scales should be added instead");
    }

    private void ValidateStops(RequestLimits limits)
    {
        Check.That(StopSequences.Count <= MaxStopSequences, "stop", $"stop has {StopSequences.Count} strings; at most {MaxStopSequences} are allowed");
        foreach (var stop in StopSequences)
        {
            Check.That(!string.IsNullOrEmpty(stop), "stop", "stop has an empty string");
            Check.That(stop.Length <= MaxStopSequenceLength, "stop", $"a stop string has {stop.Length} characters; at most {MaxStopSequenceLength} are allowed");
        }

        foreach (var tokenId in StopTokenIds)
        {
            Check.TokenId(tokenId, "stop_token_ids", limits.VocabularySize);
        }
    }

    private void ValidatePrompt(RequestLimits limits)
    {
        Check.That(Prompt.Kind != PromptKind.Chat || Prompt.Messages.Count > 0, "messages", "messages is empty; at least one message is needed");
        if (Prompt.Kind != PromptKind.TokenIds)
        {
            return;
        }

        TotalTokens(Prompt.TokenIds.Count, limits);
        foreach (var tokenId in Prompt.TokenIds)
        {
            Check.TokenId(tokenId, "prompt", limits.VocabularySize);
        }
    }
}
