// Reads "added_tokens" of tokenizer.json.

using SLoRA.Tokenizers.Loading;

namespace SLoRA.Tokenizers.AddedTokens;

internal static class AddedTokenReader
{
    internal static List<AddedToken> Read(JsonPart tokens)
    {
        List<AddedToken> result = [];
        if (tokens.IsNull)
        {
            return result;
        }

        foreach (JsonPart token in tokens.Items())
        {
            JsonPart content = token.Require("content");
            string text = content.AsString();
            if (text.Length is 0 or > TokenizerLimits.MaxAddedTokenChars)
            {
                throw content.Fail($"must have 1 … {TokenizerLimits.MaxAddedTokenChars} characters");
            }

            bool special = token["special"].AsBool(false);
            result.Add(new AddedToken(
                token.Require("id").AsId(),
                text,
                special,
                token["single_word"].AsBool(false),
                token["lstrip"].AsBool(false),
                token["rstrip"].AsBool(false),
                token["normalized"].AsBool(!special)));
        }

        return result;
    }
}
