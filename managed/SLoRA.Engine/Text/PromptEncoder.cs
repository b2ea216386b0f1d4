// Prompts to token ids.
using SLoRA.Tokenizers;

namespace SLoRA.Engine.Text;

internal sealed class PromptEncoder(ITokenizer tokenizer, RenderChat? modelTemplate)
{
    /// The ids of a prompt. Chat goes through `adapterTemplate` if there is one, else through the model's own.
    public int[] Encode(Prompt prompt, RenderChat? adapterTemplate)
    {
        try
        {
            return prompt.Kind switch
            {
                PromptKind.TokenIds => [.. prompt.TokenIds],
                PromptKind.Text => [.. tokenizer.Encode(prompt.Text, addSpecialTokens: true)],
                _ => EncodeChat(prompt, adapterTemplate ?? modelTemplate),
            };
        }
        catch (TokenizerException error)
        {
            throw new RequestInvalidException(error.Message, prompt.Kind == PromptKind.Chat ? "messages" : "prompt", error);
        }
    }

    private int[] EncodeChat(Prompt prompt, RenderChat? template)
    {
        if (template is null)
        {
            NoTokenizer.Refuse(tokenizer);
            throw new RequestInvalidException("neither the model nor the adapter has a chat template; send the prompt as text", "messages");
        }

        // A template writes its special tokens, the first included, as text.
        return [.. tokenizer.Encode(template(prompt.Messages), addSpecialTokens: false)];
    }
}
