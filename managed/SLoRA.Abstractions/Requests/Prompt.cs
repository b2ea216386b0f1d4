// What a request begins with. A closed choice of three forms, so it is one class with a kind rather than a hierarchy
// that others could extend and the engine could not read.
namespace SLoRA;

/// <summary>The beginning of a request: text, token ids or chat messages.</summary>
public sealed class Prompt
{
    private Prompt(PromptKind kind, string? text, IReadOnlyList<int>? tokenIds, IReadOnlyList<PromptMessage>? messages)
    {
        Kind = kind;
        Text = text ?? string.Empty;
        TokenIds = tokenIds ?? [];
        Messages = messages ?? [];
    }

    /// <summary>Which form this prompt has.</summary>
    public PromptKind Kind { get; }

    /// <summary>The text of a <see cref="PromptKind.Text"/> prompt; otherwise empty.</summary>
    public string Text { get; }

    /// <summary>The ids of a <see cref="PromptKind.TokenIds"/> prompt; otherwise empty.</summary>
    public IReadOnlyList<int> TokenIds { get; }

    /// <summary>The messages of a <see cref="PromptKind.Chat"/> prompt; otherwise empty.</summary>
    public IReadOnlyList<PromptMessage> Messages { get; }

    /// <summary>A prompt of text.</summary>
    /// <param name="text">The text; special tokens written out in it count as special tokens.</param>
    public static Prompt FromText(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new(PromptKind.Text, text, null, null);
    }

    /// <summary>A prompt of token ids; nothing is added to them.</summary>
    /// <param name="tokenIds">The ids, each in [0, vocabulary size).</param>
    public static Prompt FromTokens(IReadOnlyList<int> tokenIds)
    {
        ArgumentNullException.ThrowIfNull(tokenIds);
        return new(PromptKind.TokenIds, null, tokenIds, null);
    }

    /// <summary>A conversation; the assistant's next turn is generated.</summary>
    /// <param name="messages">The turns so far, oldest first.</param>
    public static Prompt FromChat(IReadOnlyList<PromptMessage> messages)
    {
        ArgumentNullException.ThrowIfNull(messages);
        return new(PromptKind.Chat, null, null, messages);
    }

    /// <summary>A prompt of text.</summary>
    /// <param name="text">The text.</param>
    public static implicit operator Prompt(string text) => FromText(text);
}
