// The text side of a model folder, and of adapter folders against it: tokenizer, chat templates.
using SLoRA.Tokenizers;

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
            return new ModelText(HfTokenizer.LoadFromFolder(path), null);
        }
        catch (TokenizerException error)
        {
            throw new ModelLoadException(error.Message, error);
        }
    }

    RenderChat? IAdapterFolderReader.Read(string path) => null;
}
