// tokenizer.model, built here from the tokenizer.json of known vocabularies, must give the ids of those; and what it
// says beyond them: user-defined pieces, ties, begin and end.

using System.Text.Json;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class SentencePieceTests
{
    private static readonly string[] Companions =
        ["tokenizer_config.json", "special_tokens_map.json", "config.json", "generation_config.json"];

    // The last: pieces of the model; tokens after them come from tokenizer_config.json.
    [Theory]
    [InlineData("llama-mha", true, true, 320)]
    [InlineData("llama-f32", true, true, 320)]
    [InlineData("phi3", true, true, 316)]
    [InlineData("gemma2", false, true, 320)]
    [InlineData("llama-bias-linear", true, false, 320)]
    [InlineData("mistral-swa", true, false, 318)]
    public void A_rebuilt_model_meets_the_golden_of_tokenizer_json(string name, bool prefix, bool legacy, int numPieces)
    {
        string source = Assets.Tiny(name);
        SentencePieceWriter writer = SentencePieceWriter.FromTokenizerJson(Path.Combine(source, "tokenizer.json"), numPieces);
        writer.AddDummyPrefix = prefix;
        using TemporaryFolder folder = WithModel(writer);
        foreach (string file in Companions)
        {
            folder.WithCopy(Path.Combine(source, file), text =>
                file == Companions[0] ? text.Replace("\"bos_token\"", legacy ? "\"legacy\": true, \"bos_token\"" : "\"legacy\": false, \"bos_token\"", StringComparison.Ordinal) : text);
        }

        HfTokenizer expected = HfTokenizer.LoadFromFolder(source);
        HfTokenizer tokenizer = HfTokenizer.LoadFromFolder(folder.Path);

        Assert.Equal(expected.VocabularySize, tokenizer.VocabularySize);
        Assert.Equal(expected.BosId, tokenizer.BosId);
        Assert.Equal(expected.EosIds, tokenizer.EosIds);
        Assert.All(Enumerable.Range(0, expected.VocabularySize), id =>
        {
            Assert.Equal(expected.TokenText(id), tokenizer.TokenText(id));
            Assert.Equal(expected.IsSpecial(id), tokenizer.IsSpecial(id));
            Assert.Equal(expected.TokenBytes(id).ToArray(), tokenizer.TokenBytes(id).ToArray());
        });
        foreach (JsonElement item in Assets.ReadJson(Path.Combine(source, "golden_tokenizer.json")).EnumerateArray())
        {
            string text = item.GetProperty("text").GetString()!;
            int[] ids = item.GetProperty("ids").Ints();
            Assert.Equal(ids, tokenizer.Encode(text, addSpecialTokens: false));
            Assert.Equal(item.GetProperty("ids_with_special").Ints(), tokenizer.Encode(text, addSpecialTokens: true));
            Assert.Equal(item.GetProperty("decoded").GetString(), tokenizer.Decode(ids, skipSpecialTokens: false));
            Assert.Equal(item.GetProperty("decoded_skip_special").GetString(), tokenizer.Decode(ids, skipSpecialTokens: true));
            Assert.Equal(expected.EncodeWithOffsets(text, true), tokenizer.EncodeWithOffsets(text, true));
        }
    }

    [Fact]
    public void The_best_score_goes_first_and_the_left_most_on_ties()
    {
        SentencePieceWriter writer = Minimal();
        writer.AddDummyPrefix = false;
        writer.Pieces.AddRange([("ab", -1, SentencePieceWriter.Normal), ("aa", -1, SentencePieceWriter.Normal), ("bb", -0.5f, SentencePieceWriter.Normal)]);

        Assert.Equal(["aa", "a"], Tokens(writer, "aaa"));
        Assert.Equal(["aa", "b"], Tokens(writer, "aab"));
        Assert.Equal(["a", "bb"], Tokens(writer, "abb"));
        Assert.Equal(["aa", "bb", "a"], Tokens(writer, "aabba"));
    }

    // SentencePiece joins by text: every way to cut a piece counts, not one merge only.
    [Fact]
    public void A_piece_is_made_from_any_two_pieces()
    {
        SentencePieceWriter writer = Minimal();
        writer.AddDummyPrefix = false;
        writer.Pieces.AddRange([("ab", -1, SentencePieceWriter.Normal), ("ba", -2, SentencePieceWriter.Normal), ("aba", -3, SentencePieceWriter.Normal), ("bab", -2.5f, SentencePieceWriter.Normal)]);

        Assert.Equal(["aba"], Tokens(writer, "aba"));
        Assert.Equal(["bab"], Tokens(writer, "bab"));
    }

    [Fact]
    public void A_user_defined_piece_is_found_first_and_does_not_merge()
    {
        SentencePieceWriter writer = Minimal();
        writer.Pieces.AddRange(
            [("▁▁", 0, SentencePieceWriter.UserDefined), ("bb", 0, SentencePieceWriter.UserDefined), ("ab", -1, SentencePieceWriter.Normal), ("▁a", -2, SentencePieceWriter.Normal)]);

        Assert.Equal(["▁▁", "ab"], Tokens(writer, " ab"));
        Assert.Equal(["▁a", "bb", "a"], Tokens(writer, "abba"));
        Assert.Equal(["▁a", "bb", "b"], Tokens(writer, "abbb"));
    }

    [Fact]
    public void Without_other_files_the_model_names_begin_and_end()
    {
        using TemporaryFolder folder = WithModel(Minimal());
        HfTokenizer tokenizer = HfTokenizer.LoadFromFolder(folder.Path);

        Assert.Equal(1, tokenizer.BosId);
        Assert.Equal([2], tokenizer.EosIds);
        Assert.Equal("</s>", tokenizer.SpecialTokens["eos_token"]);
        Assert.Equal([1, 3, 4], tokenizer.Encode("a", addSpecialTokens: true));
        Assert.Equal([3, 4, 2], tokenizer.Encode("a</s>", addSpecialTokens: false));
        Assert.Equal([3, 0, 4], tokenizer.Encode("éüa", addSpecialTokens: false));
        Assert.Equal(" a", tokenizer.Decode([3, 3, 4], skipSpecialTokens: false));
        Assert.Empty(tokenizer.Encode("", addSpecialTokens: false));
    }

    [Theory]
    [InlineData("""{"add_bos_token": false}""", new[] { 3, 4 })]
    [InlineData("""{"add_bos_token": true, "add_eos_token": true}""", new[] { 1, 3, 4, 2 })]
    [InlineData("""{"add_prefix_space": false}""", new[] { 1, 4 })]
    [InlineData("""{"bos_token": "</s>"}""", new[] { 2, 3, 4 })]
    public void The_config_says_what_is_put_around_a_text(string config, int[] ids)
    {
        using TemporaryFolder folder = WithModel(Minimal()).With("tokenizer_config.json", config);

        Assert.Equal(ids, HfTokenizer.LoadFromFolder(folder.Path).Encode("a", addSpecialTokens: true));
    }

    [Fact]
    public void Added_tokens_json_adds_tokens()
    {
        using TemporaryFolder folder = WithModel(Minimal()).With("added_tokens.json", """{"<pad>": 6, "<s>": 1}""");

        Assert.Equal([3, 4, 6, 3, 4], HfTokenizer.LoadFromFolder(folder.Path).Encode("a<pad>a", addSpecialTokens: false));
    }

    [Fact]
    public void Tokenizer_json_goes_before_the_model()
    {
        using TemporaryFolder folder = new TemporaryFolder()
            .WithCopy(Path.Combine(Assets.Tiny("qwen2"), "tokenizer.json"))
            .With("tokenizer.model", "x");

        Assert.Equal(320, HfTokenizer.LoadFromFolder(folder.Path).VocabularySize);
    }

    [Fact]
    public void An_adapter_is_compared_with_a_base_of_the_same_kind()
    {
        using TemporaryFolder folder = WithModel(Minimal());
        SentencePieceWriter other = Minimal();
        other.Pieces[4] = ("c", 0, SentencePieceWriter.Normal);
        using TemporaryFolder different = WithModel(other);
        HfTokenizer tokenizer = HfTokenizer.LoadFromFolder(folder.Path);

        Assert.Equal(AdapterTokenizerVerdict.Same, AdapterTokenizerCheck.Inspect(tokenizer, folder.Path).Verdict);
        Assert.Equal(
            "token 4 is \"a\" in the base's tokenizer and \"c\" in the adapter's",
            AdapterTokenizerCheck.Inspect(tokenizer, different.Path).Reason);
        Assert.Contains("cannot be compared", AdapterTokenizerCheck.Inspect(tokenizer, Assets.Tiny("llama-mha")).Reason, StringComparison.Ordinal);
    }

    internal static SentencePieceWriter Minimal()
    {
        SentencePieceWriter writer = new();
        writer.Pieces.AddRange(
        [
            ("<unk>", 0, SentencePieceWriter.Unknown), ("<s>", 0, SentencePieceWriter.Control), ("</s>", 0, SentencePieceWriter.Control),
            ("▁", -10, SentencePieceWriter.Normal), ("a", -11, SentencePieceWriter.Normal), ("b", -12, SentencePieceWriter.Normal),
        ]);
        return writer;
    }

    internal static TemporaryFolder WithModel(SentencePieceWriter writer) => WithModel(writer.ToBytes());

    internal static TemporaryFolder WithModel(byte[] bytes)
    {
        TemporaryFolder folder = new();
        File.WriteAllBytes(folder.File("tokenizer.model"), bytes);
        return folder;
    }

    private static string[] Tokens(SentencePieceWriter writer, string text)
    {
        using TemporaryFolder folder = WithModel(writer);
        HfTokenizer tokenizer = HfTokenizer.LoadFromFolder(folder.Path);
        return [.. tokenizer.Encode(text, addSpecialTokens: false).Select(tokenizer.TokenText)];
    }
}
