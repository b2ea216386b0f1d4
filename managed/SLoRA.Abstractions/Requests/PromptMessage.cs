// One turn of a conversation, as chat templates read it.
namespace SLoRA;

/// <summary>One message of a chat prompt.</summary>
/// <param name="Role">Who speaks: <c>system</c>, <c>user</c>, <c>assistant</c> or what the model's template knows.</param>
/// <param name="Content">What is said.</param>
public sealed record PromptMessage(string Role, string Content);
