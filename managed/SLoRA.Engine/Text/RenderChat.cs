// A chat template ready to use: messages to the text that the model was trained to see.
namespace SLoRA.Engine.Text;

internal delegate string RenderChat(IReadOnlyList<PromptMessage> messages);
