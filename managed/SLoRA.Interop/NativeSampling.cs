// slora_sampling_options as a record; the call turns it into the native struct.
using SLoRA.Interop.Native;

namespace SLoRA.Interop;

/// <summary>
/// How the tokens of a sequence are drawn; <c>new()</c> is greedy with everything else off. The order is that of
/// transformers' generate(): logit bias, penalties, temperature, top-k, top-p, min-p, typical-p.
/// </summary>
public sealed record NativeSampling
{
    /// <summary>At least 0; 0: greedy.</summary>
    public float Temperature { get; init; }

    /// <summary>At least 0; 0: off.</summary>
    public int TopK { get; init; }

    /// <summary>(0, 1]; 1: off.</summary>
    public float TopP { get; init; } = 1;

    /// <summary>[0, 1]; 0: off.</summary>
    public float MinP { get; init; }

    /// <summary>(0, 1]; 1: off.</summary>
    public float TypicalP { get; init; } = 1;

    /// <summary>Above 0; 1: off.</summary>
    public float RepetitionPenalty { get; init; } = 1;

    /// <summary>[-2, 2]; subtracted once from each token of the output.</summary>
    public float PresencePenalty { get; init; }

    /// <summary>[-2, 2]; subtracted once an occurrence in the output.</summary>
    public float FrequencyPenalty { get; init; }

    /// <summary>Log-probabilities of the N most likely tokens a sampled token, besides its own.</summary>
    public int NumLogprobs { get; init; }

    /// <summary>Same seed, prompt, options and adapters: same tokens, whatever else is in the batch.</summary>
    public ulong Seed { get; init; }

    /// <summary>Logits raised before anything else is applied.</summary>
    public ReadOnlyMemory<NativeLogitBias> LogitBias { get; init; }

    internal NativeSamplingOptions ToNative()
    {
        NativeSamplingOptions native = NativeSamplingOptions.Create();
        native.Temperature = Temperature;
        native.TopK = TopK;
        native.TopP = TopP;
        native.MinP = MinP;
        native.TypicalP = TypicalP;
        native.RepetitionPenalty = RepetitionPenalty;
        native.PresencePenalty = PresencePenalty;
        native.FrequencyPenalty = FrequencyPenalty;
        native.NumLogprobs = checked((uint)NumLogprobs);
        native.Seed = Seed;
        return native;
    }
}
