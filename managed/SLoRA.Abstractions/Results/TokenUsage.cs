// What a request cost in tokens.
namespace SLoRA;

/// <summary>Tokens of a request.</summary>
/// <param name="PromptTokens">Tokens of the prompt, counted once.</param>
/// <param name="CompletionTokens">Tokens sampled, of all choices.</param>
public readonly record struct TokenUsage(int PromptTokens, int CompletionTokens)
{
    /// <summary>Both together.</summary>
    public int TotalTokens => PromptTokens + CompletionTokens;
}
