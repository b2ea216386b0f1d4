// Which of its three forms a prompt has.
namespace SLoRA;

/// <summary>The form of a <see cref="Prompt"/>.</summary>
public enum PromptKind
{
    /// <summary>Text, to be tokenised with the model's usual leading tokens.</summary>
    Text,

    /// <summary>Token ids, taken as they are.</summary>
    TokenIds,

    /// <summary>Chat messages, to be rendered by the chat template of the adapter, else of the model.</summary>
    Chat,
}
