// What a rendering may set besides the messages.

namespace SLoRA.Tokenizers.Templates;

/// <summary>Settings of one rendering of a chat template.</summary>
public sealed record ChatTemplateOptions
{
    /// <summary>Whether the text ends with the start of the assistant's turn. Default: true.</summary>
    public bool AddGenerationPrompt { get; init; } = true;

    /// <summary>Text of the begin-of-text token; null: that of the template's folder.</summary>
    public string? BosToken { get; init; }

    /// <summary>Text of the end-of-text token; null: that of the template's folder.</summary>
    public string? EosToken { get; init; }

    /// <summary>
    /// Further variables, such as <c>tools</c> or <c>enable_thinking</c>; they win over all others. Values as in
    /// <see cref="TemplateMessage.ExtraFields"/>.
    /// </summary>
    public IReadOnlyDictionary<string, object?> Variables { get; init; } = new Dictionary<string, object?>();

    /// <summary>The clock of <c>strftime_now</c>.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;
}
