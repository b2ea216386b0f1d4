// The text side of a model folder, and of adapter folders against it: tokenizer, chat templates.
using SLoRA.Tokenizers;
using SLoRA.Tokenizers.Templates;

namespace SLoRA.Engine.Text;

internal sealed class ModelText : IAdapterFolderReader
{
    private ModelText(ITokenizer tokenizer, RenderChat? chatTemplate)
    {
        Tokenizer = tokenizer;
        ChatTemplate = chatTemplate;
    }

    public ITokenizer Tokenizer { get; }

    public RenderChat? ChatTemplate { get; }

    public static ModelText Read(string path)
    {
        try
        {
            return new ModelText(HfTokenizer.LoadFromFolder(path), ReadTemplate(path));
        }
        catch (Exception error) when (error is TokenizerException or TemplateException)
        {
            throw new ModelLoadException(error.Message, error);
        }
    }

    RenderChat? IAdapterFolderReader.Read(string path)
    {
        try
        {
            return ReadTemplate(path);
        }
        catch (Exception error) when (error is TokenizerException or TemplateException)
        {
            throw new AdapterIncompatibleException(error.Message, error);
        }
    }

    private static RenderChat? ReadTemplate(string path) =>
        Tokenizers.Templates.ChatTemplate.LoadFromFolder(path) is { } template ? messages => Render(template, messages) : null;

    private static string Render(ChatTemplate template, IReadOnlyList<PromptMessage> messages)
    {
        try
        {
            return template.Render([.. messages.Select(message => new TemplateMessage(message.Role, message.Content))]);
        }
        catch (TemplateException error)
        {
            throw new RequestInvalidException($"the chat template refused the messages: {error.Message}", "messages", error);
        }
    }
}
