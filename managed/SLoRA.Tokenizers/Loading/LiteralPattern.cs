// Reads {"String": "…"}; regular expressions are refused here, the few known ones are read by PreTokenizerTable.

namespace SLoRA.Tokenizers.Loading;

internal static class LiteralPattern
{
    internal static string Read(JsonPart pattern)
    {
        JsonPart literal = pattern["String"];
        if (literal.IsNull)
        {
            throw pattern.Fail("is a pattern that is not supported here (only a literal String is)");
        }

        string text = literal.AsString();
        return text.Length > 0 ? text : throw literal.Fail("must not be empty");
    }
}
