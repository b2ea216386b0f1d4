// What an adapter folder says besides its weights.
namespace SLoRA.Engine.Text;

internal interface IAdapterFolderReader
{
    /// The adapter's own chat template, or null. Throws AdapterIncompatibleException if the folder has a tokenizer that
    /// gives other ids than the model's, or a template that cannot be read.
    RenderChat? Read(string path);
}
