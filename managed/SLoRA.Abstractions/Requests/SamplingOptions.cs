// How tokens are drawn. Ranges are those of the C ABI (slora_sampling_options); they are checked here so that the
// message names the option as the user wrote it.
namespace SLoRA;

/// <summary>How the tokens of a request are drawn. The order is that of transformers' <c>generate()</c>: logit bias,
/// repetition, presence and frequency penalty, temperature, top-k, top-p, min-p, typical-p.</summary>
public sealed record SamplingOptions
{
    /// <summary>Largest number of tokens with a bias.</summary>
    public const int MaxLogitBias = 1024;

    /// <summary>Always the most likely token.</summary>
    public static SamplingOptions Greedy { get; } = new();

    /// <summary>Divides the logits; &gt;= 0, 0 is greedy.</summary>
    public float Temperature { get; init; }

    /// <summary>Only the K most likely tokens; &gt;= 0, 0 is off.</summary>
    public int TopK { get; init; }

    /// <summary>Only the most likely tokens whose probabilities sum to this; in (0, 1], 1 is off.</summary>
    public float TopP { get; init; } = 1f;

    /// <summary>Only tokens at least this share as likely as the most likely; in [0, 1], 0 is off.</summary>
    public float MinP { get; init; }

    /// <summary>Locally typical sampling's mass; in (0, 1], 1 is off.</summary>
    public float TypicalP { get; init; } = 1f;

    /// <summary>Divides positive and multiplies negative logits of tokens seen in prompt and output; &gt; 0, 1 is off.</summary>
    public float RepetitionPenalty { get; init; } = 1f;

    /// <summary>Subtracted once from the logit of each token of the output; in [-2, 2].</summary>
    public float PresencePenalty { get; init; }

    /// <summary>Subtracted from the logit once an occurrence in the output; in [-2, 2].</summary>
    public float FrequencyPenalty { get; init; }

    /// <summary>Added to the logits of these tokens before anything else; each in [-100, 100].</summary>
    public IReadOnlyDictionary<int, float>? LogitBias { get; init; }

    /// <summary>The same seed, prompt, options and adapters give the same tokens; null draws one. Choice i of a request
    /// uses seed + i.</summary>
    public ulong? Seed { get; init; }

    /// <summary>null: no log-probabilities; N &gt;= 0: that of each sampled token and of the N most likely.</summary>
    public int? NumLogprobs { get; init; }

    /// <summary>Throws if a value is outside its limits.</summary>
    /// <param name="limits">The limits in force.</param>
    /// <exception cref="RequestInvalidException">With the option, its value and the limit.</exception>
    public void Validate(RequestLimits limits)
    {
        ArgumentNullException.ThrowIfNull(limits);
        Check.That(float.IsFinite(Temperature) && Temperature >= 0, "temperature", $"temperature is {Temperature}; it must be at least 0");
        Check.That(TopK >= 0, "top_k", $"top_k is {TopK}; it must be at least 0 (0: off)");
        Check.That(TopP is > 0 and <= 1, "top_p", $"top_p is {TopP}; it must be in (0, 1]");
        Check.That(MinP is >= 0 and <= 1, "min_p", $"min_p is {MinP}; it must be in [0, 1]");
        Check.That(TypicalP is > 0 and <= 1, "typical_p", $"typical_p is {TypicalP}; it must be in (0, 1]");
        Check.That(float.IsFinite(RepetitionPenalty) && RepetitionPenalty > 0, "repetition_penalty", $"repetition_penalty is {RepetitionPenalty}; it must be above 0");
        Check.That(PresencePenalty is >= -2 and <= 2, "presence_penalty", $"presence_penalty is {PresencePenalty}; it must be in [-2, 2]");
        Check.That(FrequencyPenalty is >= -2 and <= 2, "frequency_penalty", $"frequency_penalty is {FrequencyPenalty}; it must be in [-2, 2]");
        Check.That(NumLogprobs is null or >= 0 && (NumLogprobs ?? 0) <= limits.MaxLogprobs, "logprobs", $"logprobs is {NumLogprobs}; it must be in [0, {limits.MaxLogprobs}]");
        ValidateBias(limits);
    }

    private void ValidateBias(RequestLimits limits)
    {
        if (LogitBias is null)
        {
            return;
        }

        Check.That(LogitBias.Count <= MaxLogitBias, "logit_bias", $"logit_bias names {LogitBias.Count} tokens; at most {MaxLogitBias} are allowed");
        foreach (var (tokenId, bias) in LogitBias)
        {
            Check.TokenId(tokenId, "logit_bias", limits.VocabularySize);
            Check.That(bias is >= -100 and <= 100, "logit_bias", $"logit_bias of token {tokenId} is {bias}; it must be in [-100, 100]");
        }
    }
}
