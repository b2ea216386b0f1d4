// A piece of output on its way to the user.
namespace SLoRA;

/// <summary>A piece of the output of one choice. Tokens and text need not arrive together: text that may turn out to
/// begin a stop string, or half a character, is held back.</summary>
public sealed record GenerationChunk
{
    /// <summary>Which choice this belongs to, from 0.</summary>
    public int ChoiceIndex { get; init; }

    /// <summary>New text; may be empty.</summary>
    public string Text { get; init; } = string.Empty;

    /// <summary>New tokens; may be empty.</summary>
    public IReadOnlyList<int> TokenIds { get; init; } = [];

    /// <summary>One entry a token of <see cref="TokenIds"/>, if the request asked for log-probabilities.</summary>
    public IReadOnlyList<TokenLogprobs>? Logprobs { get; init; }

    /// <summary>The prompt as the model saw it; on the first chunk of a request only.</summary>
    public IReadOnlyList<int>? PromptTokenIds { get; init; }

    /// <summary>Set on the last chunk of a choice.</summary>
    public FinishReason? Finish { get; init; }

    /// <summary>Set on the last chunk of the request.</summary>
    public TokenUsage? Usage { get; init; }
}
