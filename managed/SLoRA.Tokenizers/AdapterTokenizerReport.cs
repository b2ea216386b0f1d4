// The result of AdapterTokenizerCheck.

using SLoRA.Tokenizers.Templates;

namespace SLoRA.Tokenizers;

/// <summary>What an adapter folder says about tokenization.</summary>
/// <param name="Verdict">Whether the adapter can be served with the base's tokenizer.</param>
/// <param name="Reason">Why it cannot, in one line that names the first difference; null otherwise.</param>
/// <param name="ChatTemplate">The adapter's own chat template, which replaces the base's; null where it has none.</param>
public sealed record AdapterTokenizerReport(AdapterTokenizerVerdict Verdict, string? Reason, ChatTemplate? ChatTemplate);
