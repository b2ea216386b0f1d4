// Reads the "model" part of tokenizer.json. Only BPE is known; options that change ids and that no supported model uses
// are refused.

using SLoRA.Tokenizers.Loading;

namespace SLoRA.Tokenizers.Models;

internal static class BpeReader
{
    internal static BpeModel Read(JsonPart model, bool byteLevel)
    {
        JsonPart type = model["type"];
        // Very old files leave the type out; having merges, they are BPE.
        if (!type.IsNull && type.AsString() != "BPE")
        {
            throw type.Fail("is a model type that is not supported (only BPE is)");
        }

        RefuseUnsupported(model);
        Dictionary<string, int> vocabulary = ReadVocabulary(model.Require("vocab"));
        MergeTable merges = ReadMerges(model.Require("merges"), vocabulary);
        SymbolSource symbols = byteLevel
            ? new ByteLevelSymbols(vocabulary)
            : new CharacterSymbols(
                vocabulary,
                model["byte_fallback"].AsBool(false),
                ReadUnknownId(model["unk_token"], vocabulary),
                model["fuse_unk"].AsBool(false));
        return new BpeModel(vocabulary, merges, symbols, model["ignore_merges"].AsBool(false));
    }

    private static void RefuseUnsupported(JsonPart model)
    {
        foreach (string key in (ReadOnlySpan<string>)["continuing_subword_prefix", "end_of_word_suffix"])
        {
            if (!model[key].IsNull && model[key].AsString().Length > 0)
            {
                throw model[key].Fail("is not supported");
            }
        }

        // Dropout makes encoding random; 0 and null mean none.
        JsonPart dropout = model["dropout"];
        if (!dropout.IsNull && !(dropout.IsNumber && dropout.Element.GetDouble() == 0))
        {
            throw dropout.Fail("is not supported");
        }
    }

    private static Dictionary<string, int> ReadVocabulary(JsonPart vocab)
    {
        Dictionary<string, int> vocabulary = new(StringComparer.Ordinal);
        foreach ((string token, JsonPart id) in vocab.Properties())
        {
            vocabulary[token] = id.AsId();
        }

        return vocabulary;
    }

    private static MergeTable ReadMerges(JsonPart merges, Dictionary<string, int> vocabulary)
    {
        MergeTable table = new(merges.IsArray ? merges.Element.GetArrayLength() : 0);
        int rank = 0;
        foreach (JsonPart merge in merges.Items())
        {
            (string left, string right) = ReadPair(merge);
            table.Add(
                IdOf(left, merge, vocabulary),
                IdOf(right, merge, vocabulary),
                rank++,
                IdOf(left + right, merge, vocabulary));
        }

        return table;
    }

    // Old files write "a b", new ones ["a", "b"], because a token may hold a space.
    private static (string Left, string Right) ReadPair(JsonPart merge)
    {
        if (merge.IsString)
        {
            string[] parts = merge.AsString().Split(' ');
            return parts.Length == 2 ? (parts[0], parts[1]) : throw merge.Fail("must be two tokens with a space between");
        }

        JsonPart[] items = merge.IsArray ? [.. merge.Items()] : [];
        return items.Length == 2 ? (items[0].AsString(), items[1].AsString()) : throw merge.Fail("must be a pair of tokens");
    }

    private static int IdOf(string token, JsonPart merge, Dictionary<string, int> vocabulary) =>
        vocabulary.TryGetValue(token, out int id)
            ? id
            : throw merge.Fail($"needs the token \"{token}\", which the vocabulary lacks");

    private static int? ReadUnknownId(JsonPart unknown, Dictionary<string, int> vocabulary)
    {
        if (unknown.IsNull)
        {
            return null;
        }

        return vocabulary.TryGetValue(unknown.AsString(), out int id)
            ? id
            : throw unknown.Fail("is not in the vocabulary");
    }
}
