// Chooses normalizers by the "type" in tokenizer.json and refuses those it does not know.

using SLoRA.Tokenizers.Loading;

namespace SLoRA.Tokenizers.Normalizers;

internal static class NormalizerTable
{
    internal static Normalizer Read(JsonPart part)
    {
        if (part.IsNull)
        {
            return IdentityNormalizer.Instance;
        }

        JsonPart type = part.Require("type");
        return type.AsString() switch
        {
            "Sequence" => new NormalizerSequence([.. part.Require("normalizers").Items().Select(Read)]),
            "Prepend" => new PrependNormalizer(part.Require("prepend").AsString()),
            "Replace" => new ReplaceNormalizer(
                LiteralPattern.Read(part.Require("pattern")), part.Require("content").AsString()),
            "NFC" => new NfcNormalizer(),
            _ => throw type.Fail("names a normalizer that is not supported"),
        };
    }
}
