// One message of a conversation, as templates see it.

namespace SLoRA.Tokenizers.Templates;

/// <summary>A message of a conversation.</summary>
/// <param name="Role">Who speaks: <c>system</c>, <c>user</c>, <c>assistant</c> or what the template knows.</param>
/// <param name="Content">What is said.</param>
public sealed record TemplateMessage(string Role, string Content)
{
    /// <summary>
    /// Further fields of the message, such as <c>name</c> or <c>tool_calls</c>; they come after role and content and win
    /// over them. Values: null, bool, numbers, strings, <see cref="System.Text.Json.JsonElement"/>, sequences and
    /// dictionaries with string keys of such values.
    /// </summary>
    public IReadOnlyDictionary<string, object?> ExtraFields { get; init; } = new Dictionary<string, object?>();
}
