// Reads a model folder into an HfTokenizer: tokenizer.json gives the steps, the other files name the begin and end
// tokens. Without it, SentencePieceLoader takes tokenizer.model.

using System.Text.Json;
using SLoRA.Tokenizers.AddedTokens;
using SLoRA.Tokenizers.Decoders;
using SLoRA.Tokenizers.Models;
using SLoRA.Tokenizers.Normalizers;
using SLoRA.Tokenizers.PostProcessors;
using SLoRA.Tokenizers.PreTokenizers;

namespace SLoRA.Tokenizers.Loading;

internal static class TokenizerLoader
{
    internal const string TokenizerFile = "tokenizer.json";

    internal static HfTokenizer Load(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        string file = Path.Combine(folder, TokenizerFile);
        if (!File.Exists(file) && File.Exists(Path.Combine(folder, SentencePieceLoader.ModelFile)))
        {
            return SentencePieceLoader.Load(folder);
        }

        using JsonDocument document = JsonFile.Open(file);
        TokenizerParts parts = ReadParts(new JsonPart(document.RootElement, file, ""));
        Func<string, int?> idOf = token =>
            parts.AddedTokens.FirstOrDefault(added => added.Content == token)?.Id
            ?? (parts.Model.TryGetId(token, out int id) ? id : null);
        SpecialTokenFiles files = SpecialTokenFiles.Read(folder);
        return new HfTokenizer(parts, files.BosId(idOf), files.EosIds(idOf), SpecialTokenFiles.ReadTexts(folder));
    }

    private static TokenizerParts ReadParts(JsonPart root)
    {
        // Truncation would silently shorten prompts; padding concerns batches of texts, which we do not encode.
        if (!root["truncation"].IsNull)
        {
            throw root["truncation"].Fail("is not supported");
        }

        JsonPart preTokenizer = root["pre_tokenizer"];
        TokenizerParts parts = new(
            NormalizerTable.Read(root["normalizer"]),
            PreTokenizerTable.Read(preTokenizer),
            BpeReader.Read(root.Require("model"), PreTokenizerTable.IsByteLevel(preTokenizer)),
            DecoderTable.Read(root["decoder"]),
            PostProcessorTable.Read(root["post_processor"]),
            AddedTokenReader.Read(root["added_tokens"]));
        CheckTemplate(parts, root["post_processor"]);
        return parts;
    }

    // Its ids are written out in the file: one that no token has would make every prompt a wrong one.
    private static void CheckTemplate(TokenizerParts parts, JsonPart postProcessor)
    {
        HashSet<int> ids = [.. parts.Model.Vocabulary.Values, .. parts.AddedTokens.Select(token => token.Id)];
        foreach (int id in parts.PostProcessor.Before.Concat(parts.PostProcessor.After))
        {
            if (!ids.Contains(id))
            {
                throw postProcessor.Fail($"adds the token {id}, which the vocabulary does not have");
            }
        }
    }
}
