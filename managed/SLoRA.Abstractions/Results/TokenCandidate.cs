// A token with how likely it was.
namespace SLoRA;

/// <summary>A token and its log-probability.</summary>
/// <param name="TokenId">The id.</param>
/// <param name="Logprob">Natural log-probability under the model's own logits.</param>
/// <param name="Text">The token as text; bytes that are no whole character show as U+FFFD.</param>
/// <param name="Bytes">The token's bytes.</param>
public sealed record TokenCandidate(int TokenId, float Logprob, string Text, ReadOnlyMemory<byte> Bytes);
