// Files and texts that must be refused: one line that names file, key and value.

using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class TokenizerBadInputTests
{
    private const string Minimal = """
        {
          "normalizer": null,
          "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
          "post_processor": null,
          "decoder": {"type": "ByteLevel"},
          "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
          "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
        }
        """;

    [Fact]
    public void The_minimal_file_is_fine()
    {
        using TemporaryFolder folder = new TemporaryFolder().With("tokenizer.json", Minimal);
        HfTokenizer tokenizer = HfTokenizer.LoadFromFolder(folder.Path);

        Assert.Equal([2, 3, 0], tokenizer.Encode("ab<s>a", addSpecialTokens: true));
        Assert.Null(tokenizer.BosId);
        Assert.Empty(tokenizer.EosIds);
    }

    // (part of the minimal file, its replacement, key, what the message must hold)
    [Theory]
    [InlineData("\"normalizer\": null", "\"normalizer\": {\"type\": \"Lowercase\"}", "normalizer.type", "\"Lowercase\"")]
    [InlineData("\"normalizer\": null", "\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \" {2,}\"}, \"content\": \"x\"}", "normalizer.pattern", "not supported")]
    [InlineData("\"normalizer\": null", "\"normalizer\": 5", "normalizer", "5")]
    [InlineData("\"type\": \"ByteLevel\", \"add", "\"type\": \"BertPreTokenizer\", \"add", "pre_tokenizer.type", "BertPreTokenizer")]
    [InlineData("{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}", "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\d+\"}, \"behavior\": \"Isolated\", \"invert\": false}", "pre_tokenizer.pattern.Regex", "\\\\d+")]
    [InlineData("\"post_processor\": null", "\"post_processor\": {\"type\": \"BertProcessing\"}", "post_processor.type", "BertProcessing")]
    [InlineData("\"post_processor\": null", "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"x\"}}, {\"Sequence\": {\"id\": \"A\"}}], \"special_tokens\": {\"x\": {\"ids\": [4]}}}", "post_processor", "adds the token 4")]
    [InlineData("\"decoder\": {\"type\": \"ByteLevel\"}", "\"decoder\": {\"type\": \"WordPiece\"}", "decoder.type", "WordPiece")]
    [InlineData("\"type\": \"BPE\"", "\"type\": \"Unigram\"", "model.type", "Unigram")]
    [InlineData("\"a b\"", "\"a b c\"", "model.merges[0]", "a b c")]
    [InlineData("\"a b\"", "[\"a\"]", "model.merges[0]", "pair")]
    [InlineData("\"a b\"", "\"a x\"", "model.merges[0]", "\"x\"")]
    [InlineData("\"ab\": 2", "\"ab\": -2", "model.vocab.ab", "-2")]
    [InlineData("\"ab\": 2", "\"ab\": 2000000000", "model.vocab.ab", "2000000000")]
    [InlineData("\"ab\": 2", "\"ab\": \"two\"", "model.vocab.ab", "two")]
    [InlineData("\"ab\": 2", "\"ab\": 2, \"\\ud800\": 4", "model.vocab", "surrogate")]
    [InlineData("\"type\": \"BPE\"", "\"typ\\ud800\": \"BPE\"", "model", "surrogate")]
    [InlineData("\"vocab\"", "\"words\"", "model.vocab", "missing")]
    [InlineData("\"content\": \"<s>\"", "\"content\": \"\"", "added_tokens[0].content", "characters")]
    [InlineData("\"content\": \"<s>\"", "\"content\": \"\\udfff\"", "added_tokens[0].content", "surrogate")]
    [InlineData("\"special\": true", "\"special\": \"yes\"", "added_tokens[0].special", "yes")]
    [InlineData("\"type\": \"BPE\"", "\"type\": \"BPE\", \"dropout\": 0.1", "model.dropout", "0.1")]
    public void A_wrong_part_is_named(string part, string replacement, string key, string detail)
    {
        Assert.Contains(part, Minimal, StringComparison.Ordinal);
        using TemporaryFolder folder = new TemporaryFolder()
            .With("tokenizer.json", Minimal.Replace(part, replacement, StringComparison.Ordinal));

        TokenizerException error = Assert.Throws<TokenizerException>(() => HfTokenizer.LoadFromFolder(folder.Path));

        Assert.Equal(folder.File("tokenizer.json"), error.File);
        Assert.Equal(key, error.Key);
        Assert.Contains(detail, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("null")]
    [InlineData("{\"model\": ")]
    public void A_file_that_is_not_a_tokenizer_is_refused(string content)
    {
        using TemporaryFolder folder = new TemporaryFolder().With("tokenizer.json", content);

        TokenizerException error = Assert.Throws<TokenizerException>(() => HfTokenizer.LoadFromFolder(folder.Path));

        Assert.StartsWith(folder.File("tokenizer.json"), error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Fact]
    public void Deep_nesting_is_refused()
    {
        string deep = new string('[', 100_000) + new string(']', 100_000);
        using TemporaryFolder folder = new TemporaryFolder()
            .With("tokenizer.json", Minimal.Replace("\"normalizer\": null", $"\"normalizer\": {deep}", StringComparison.Ordinal));

        TokenizerException error = Assert.Throws<TokenizerException>(() => HfTokenizer.LoadFromFolder(folder.Path));

        Assert.Contains("not valid JSON", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_missing_folder_is_named()
    {
        TokenizerException error = Assert.Throws<TokenizerException>(() => HfTokenizer.LoadFromFolder("/no/such/folder"));

        Assert.Equal("/no/such/folder/tokenizer.json: is missing", error.Message);
    }

    [Fact]
    public void A_huge_file_is_refused_without_reading_it()
    {
        using TemporaryFolder folder = new();
        using (FileStream file = File.Create(folder.File("tokenizer.json")))
        {
            file.SetLength(1L << 30);
        }

        TokenizerException error = Assert.Throws<TokenizerException>(() => HfTokenizer.LoadFromFolder(folder.Path));

        Assert.Contains("larger than", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_wrong_special_token_in_the_config_is_named()
    {
        using TemporaryFolder folder = new TemporaryFolder()
            .With("tokenizer.json", Minimal)
            .With("tokenizer_config.json", "{\"eos_token\": 5}");

        TokenizerException error = Assert.Throws<TokenizerException>(() => HfTokenizer.LoadFromFolder(folder.Path));

        Assert.Equal("eos_token", error.Key);
        Assert.Equal("5", error.Value);
    }

    // The text is built here: test data with lone surrogates would not survive the runner.
    [Theory]
    [InlineData("a", 0xD800, "", 1)]
    [InlineData("", 0xDC00, "b", 0)]
    [InlineData("ok \U0001F642 ", 0xD83D, " x", 6)]
    public void An_unpaired_surrogate_in_the_text_is_refused(string before, int surrogate, string after, int position)
    {
        string text = before + (char)surrogate + after;
        using TemporaryFolder folder = new TemporaryFolder().With("tokenizer.json", Minimal);
        HfTokenizer tokenizer = HfTokenizer.LoadFromFolder(folder.Path);

        TokenizerException error = Assert.Throws<TokenizerException>(() => tokenizer.Encode(text, addSpecialTokens: false));

        Assert.Contains($"position {position}", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_id_outside_the_vocabulary_has_no_text()
    {
        using TemporaryFolder folder = new TemporaryFolder().With("tokenizer.json", Minimal);
        HfTokenizer tokenizer = HfTokenizer.LoadFromFolder(folder.Path);

        Assert.Throws<ArgumentOutOfRangeException>(() => tokenizer.TokenText(4));
        Assert.Throws<ArgumentOutOfRangeException>(() => tokenizer.TokenBytes(-1));
    }
}
