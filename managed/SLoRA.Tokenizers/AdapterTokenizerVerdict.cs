// The cases of AdapterTokenizerReport.

namespace SLoRA.Tokenizers;

/// <summary>How an adapter's tokenizer files relate to the base model's.</summary>
public enum AdapterTokenizerVerdict
{
    /// <summary>The adapter has no tokenizer of its own: the base's is used.</summary>
    None,

    /// <summary>The adapter's tokenizer gives the same ids as the base's.</summary>
    Same,

    /// <summary>The adapter's tokenizer gives other ids: serving it on the base's would be wrong.</summary>
    Different,
}
