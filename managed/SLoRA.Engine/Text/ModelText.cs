// The text side of a model folder, and of adapter folders against it: tokenizer, chat templates.
using SLoRA.Tokenizers;
using SLoRA.Tokenizers.Templates;

namespace SLoRA.Engine.Text;

internal sealed class ModelText : IAdapterFolderReader
{
    private static readonly string[] s_tokenizerFiles = ["tokenizer.json", "tokenizer.model"];

    private readonly HfTokenizer? _tokenizer;

    private ModelText(HfTokenizer? tokenizer, RenderChat? chatTemplate)
    {
        _tokenizer = tokenizer;
        Tokenizer = tokenizer ?? (ITokenizer)new NoTokenizer();
        ChatTemplate = chatTemplate;
    }

    public ITokenizer Tokenizer { get; }

    public RenderChat? ChatTemplate { get; }

    public static ModelText Read(string path, bool mayLackTokenizer = false)
    {
        if (mayLackTokenizer && !s_tokenizerFiles.Any(file => File.Exists(Path.Combine(path, file))))
        {
            return new ModelText(null, null);
        }

        try
        {
            return new ModelText(HfTokenizer.LoadFromFolder(path), ToRender(Tokenizers.Templates.ChatTemplate.LoadFromFolder(path)));
        }
        catch (Exception error) when (error is TokenizerException or TemplateException)
        {
            throw new ModelLoadException(error.Message, error);
        }
    }

    RenderChat? IAdapterFolderReader.Read(string path)
    {
        if (_tokenizer is null)
        {
            return null;
        }

        try
        {
            var report = AdapterTokenizerCheck.Inspect(_tokenizer, path);
            return report.Verdict == AdapterTokenizerVerdict.Different
                ? throw new AdapterIncompatibleException($"{path}: the adapter's tokenizer gives other ids than the model's: {report.Reason}")
                : ToRender(report.ChatTemplate);
        }
        catch (Exception error) when (error is TokenizerException or TemplateException)
        {
            throw new AdapterIncompatibleException(error.Message, error);
        }
    }

    private static RenderChat? ToRender(ChatTemplate? template) => template is null ? null : messages => Render(template, messages);

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
