// What the loaded model and engine allow: what requests are validated against before anything is queued.
namespace SLoRA;

/// <summary>The limits in force for requests.</summary>
/// <param name="MaxContextTokens">Prompt and output of one sequence in tokens.</param>
/// <param name="VocabularySize">Token ids are in [0, this).</param>
/// <param name="MaxLogprobs">Largest <see cref="SamplingOptions.NumLogprobs"/>.</param>
/// <param name="MaxChoices">Largest <see cref="GenerationRequest.NumChoices"/>.</param>
public sealed record RequestLimits(int MaxContextTokens, int VocabularySize, int MaxLogprobs, int MaxChoices);
