// The added tokens of a folder with tokenizer.model: its control pieces, then what tokenizer_config.json and
// added_tokens.json put on top. Found in the text as it is, before the dummy prefix, as LlamaTokenizer does.

using System.Globalization;
using System.Text.Json;
using SLoRA.Tokenizers.Loading;

namespace SLoRA.Tokenizers.AddedTokens;

internal static class SentencePieceAddedTokens
{
    internal static List<AddedToken> Read(
        SentencePieceFile model, string folder, JsonPart config, IReadOnlyDictionary<string, string> specialTexts)
    {
        SortedDictionary<int, AddedToken> tokens = [];
        for (int id = 0; id < model.Pieces.Count; id++)
        {
            if (model.Pieces[id].Type is PieceType.Control or PieceType.Unknown)
            {
                tokens[id] = new AddedToken(id, model.Pieces[id].Text, true, false, false, false, false);
            }
        }

        JsonPart decoder = config["added_tokens_decoder"];
        foreach ((string key, JsonPart token) in decoder.IsNull ? [] : decoder.Properties())
        {
            if (!int.TryParse(key, NumberStyles.None, CultureInfo.InvariantCulture, out int id)
                || id > TokenizerLimits.MaxTokenId)
            {
                throw token.Fail($"has a key that is no token id in 0 … {TokenizerLimits.MaxTokenId}");
            }

            Add(tokens, model, token.Require("content"), new AddedToken(
                id,
                token.Require("content").AsString(),
                token["special"].AsBool(false),
                token["single_word"].AsBool(false),
                token["lstrip"].AsBool(false),
                token["rstrip"].AsBool(false),
                false));
        }

        ReadList(tokens, model, Path.Combine(folder, "added_tokens.json"), [.. specialTexts.Values]);
        return [.. tokens.Values];
    }

    // Text to id; what tokenizer_config.json says about a token goes before this file, which says only its id.
    private static void ReadList(
        SortedDictionary<int, AddedToken> tokens, SentencePieceFile model, string file, HashSet<string> specialTexts)
    {
        using JsonDocument? document = JsonFile.TryOpen(file);
        if (document is null)
        {
            return;
        }

        foreach ((string text, JsonPart idPart) in new JsonPart(document.RootElement, file, "").Properties())
        {
            int id = idPart.AsId();
            if (!tokens.TryGetValue(id, out AddedToken? known) || known.Content != text)
            {
                Add(tokens, model, idPart, new AddedToken(id, text, specialTexts.Contains(text), false, false, false, false));
            }
        }
    }

    private static void Add(
        SortedDictionary<int, AddedToken> tokens, SentencePieceFile model, JsonPart place, AddedToken token)
    {
        if (token.Content.Length is 0 or > TokenizerLimits.MaxAddedTokenChars)
        {
            throw place.Fail($"must have 1 … {TokenizerLimits.MaxAddedTokenChars} characters");
        }

        string? taken = tokens.TryGetValue(token.Id, out AddedToken? other) ? other.Content
            : token.Id < model.Pieces.Count ? model.Pieces[token.Id].Text
            : null;
        if (taken is not null && taken != token.Content)
        {
            throw place.Fail($"gives the id {token.Id} to another token than {SentencePieceLoader.ModelFile} or a file before");
        }

        if (model.Ids.TryGetValue(token.Content, out int id) && id != token.Id)
        {
            throw place.Fail($"gives the id {token.Id} to a token that has the id {id} in {SentencePieceLoader.ModelFile}");
        }

        tokens[token.Id] = token;
    }
}
