// The log-probabilities that go with one sampled token.
namespace SLoRA;

/// <summary>A sampled token and the most likely tokens at its place.</summary>
/// <param name="Sampled">The token that was sampled.</param>
/// <param name="Top">The most likely tokens, most likely first; as many as the request asked for.</param>
public sealed record TokenLogprobs(TokenCandidate Sampled, IReadOnlyList<TokenCandidate> Top);
