// A tokenizer.model that must be refused: one line that names the file, the field, the value and the limit.

using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class SentencePieceBadInputTests
{
    [Theory]
    [InlineData(1, "UNIGRAM (1)")]
    [InlineData(3, "WORD (3)")]
    [InlineData(4, "CHAR (4)")]
    [InlineData(9, "value: 9")]
    [InlineData(-1, "value: -1")]
    public void Other_model_types_are_named(int type, string detail) =>
        Refuse(writer => writer.ModelType = type, "trainer_spec.model_type", detail, "only BPE");

    [Fact]
    public void What_changes_a_text_is_named()
    {
        Refuse(
            writer =>
            {
                writer.NormalizerName = "nmt_nfkc";
                writer.CharsMap = new byte[7];
            },
            "normalizer_spec.name",
            "nmt_nfkc, 7 bytes");
        Refuse(writer => writer.RemoveExtraWhitespaces = true, "normalizer_spec.remove_extra_whitespaces", "true");
        Refuse(writer => writer.EscapeWhitespaces = false, "normalizer_spec.escape_whitespaces", "false");
        Refuse([.. Good, .. SentencePieceWriter.Message(2, SentencePieceWriter.Number(24, 1))], "trainer_spec.treat_whitespace_as_suffix", "true");
        Refuse(
            [.. Good, .. SentencePieceWriter.Message(5, SentencePieceWriter.Message(2, [1]))],
            "denormalizer_spec.precompiled_charsmap",
            "1 bytes");
    }

    [Fact]
    public void A_wrong_piece_is_named()
    {
        RefusePiece(("a", 0, SentencePieceWriter.Normal), "pieces[6].piece", "the same as pieces[4].piece (value: a)");
        RefusePiece(("", 0, SentencePieceWriter.Normal), "pieces[6].piece", "must not be empty");
        RefusePiece(("x", float.NaN, SentencePieceWriter.Normal), "pieces[6].score", "NaN");
        RefusePiece(("x", float.PositiveInfinity, SentencePieceWriter.Normal), "pieces[6].score", "finite");
        RefusePiece(("x", 0, 0), "pieces[6].type", "1 … 6 (value: 0)");
        RefusePiece(("x", 0, 7), "pieces[6].type", "1 … 6 (value: 7)");
        RefusePiece(("x", 0, 5), "pieces[6].type", "UNUSED (5)");
        RefusePiece(("x", 0, SentencePieceWriter.Byte), "pieces[6].piece", "<0x00> … <0xFF> (value: x)");
        RefusePiece(("<0x0a>", 0, SentencePieceWriter.Byte), "pieces[6].piece", "<0x0a>");
        RefusePiece(("<0x0A>", 0, SentencePieceWriter.Byte), "pieces", "0 pieces of the type BYTE (6)");
        RefusePiece(("x", 0, SentencePieceWriter.Unknown), "pieces", "one piece of the type UNKNOWN (2) (value: 2)");
        RefusePiece(("axb", 0, SentencePieceWriter.Normal), "pieces[6].piece", "U+0078");
        RefusePiece((new string('a', 257), 0, SentencePieceWriter.Normal), "pieces[6].piece", "longer than 256 bytes (value: 257)");
        Refuse(writer => writer.ByteFallback = true, "pieces", "256 pieces of the type BYTE (6)");
        Refuse(writer => writer.BosId = 6, "trainer_spec.bos_id", "below the 6 of the pieces (value: 6)");
        Refuse(writer => writer.EosId = int.MaxValue, "trainer_spec.eos_id", "2147483647");
        Refuse(writer => writer.Pieces.Clear(), "pieces", "(value: 0)");
    }

    [Fact]
    public void A_wrong_wire_format_is_named()
    {
        Refuse([0x0A, 0x0A, 0x01], "pieces[0]", "beyond the 1 bytes that are left (value: 10)");
        Refuse([0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 1], "pieces[0]", "(value: 4294967295)");
        Refuse([0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], "pieces[0]", "(value: 18446744073709551615)");
        Refuse([0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], "pieces[0]", "more than 10 bytes");
        Refuse([0x08, 0x01], "pieces[0]", "wire type 2 (value: 0)");
        Refuse([0x0A, 0x02, 0x0A, 0x05], "pieces[0].piece", "beyond the 0 bytes");
        Refuse([0x0A, 0x03, 0x0A, 0x01, 0xFF], "pieces[0].piece", "UTF-8");
        Refuse([0x0A, 0x03, 0x15, 0x01, 0x02], "pieces[0].score", "needs 4 bytes where 2 are left");
        Refuse([0x12, 0x06, 0x18, 0x80, 0x80, 0x80, 0x80, 0x7F], "trainer_spec.model_type", "32 bits");
        Refuse([0x00, 0x01], null, "field number");
        Refuse([0x33], null, "wire type that is not supported (value: 3)");
    }

    [Fact]
    public void Every_truncation_is_taken_or_refused_in_one_line()
    {
        for (int length = 0; length < Good.Length; length++)
        {
            using TemporaryFolder folder = SentencePieceTests.WithModel(Good[..length]);
            TokenizerException error = Assert.Throws<TokenizerException>(() => HfTokenizer.LoadFromFolder(folder.Path));
            Assert.DoesNotContain('\n', error.Message);
        }
    }

    [Fact]
    public void Too_many_pieces_are_refused()
    {
        byte[] piece = SentencePieceWriter.Message(1, SentencePieceWriter.Text(1, "0000000"));
        MemoryStream bytes = new();
        for (int i = 0; i < 1_000_000; i++)
        {
            System.Text.Encoding.ASCII.GetBytes($"{i:D7}", piece.AsSpan(^7));
            bytes.Write(piece);
        }

        Refuse(bytes.ToArray(), "pieces[524288]", "beyond 524288 pieces");
    }

    [Fact]
    public void Too_long_a_tree_is_refused() =>
        Refuse(
            writer => writer.Pieces.AddRange(Enumerable.Range(0, 6000).Select(i => ($"{i:D200}", 0f, SentencePieceWriter.Control))),
            "pieces[5248].piece",
            "1048576 characters");

    // All words of two letters, so that every cut of every piece is a merge; and long pieces, whose cuts all cost.
    [Theory]
    [InlineData(17, 0)]
    [InlineData(1, 60_000)]
    public void The_most_merges_that_the_limits_allow_are_made_in_time(int letters, int numLong)
    {
        SentencePieceWriter writer = SentencePieceTests.Minimal();
        for (int length = 2; length <= letters; length++)
        {
            writer.Pieces.AddRange(Enumerable.Range(0, 1 << length).Select(bits =>
                (string.Create(length, bits, (text, value) =>
                {
                    for (int i = 0; i < text.Length; i++)
                    {
                        text[i] = (value >> i) % 2 == 0 ? 'a' : 'b';
                    }
                }), -(float)bits, SentencePieceWriter.Normal)));
        }

        Random random = new(3);
        writer.Pieces.AddRange(Enumerable.Range(0, numLong).Select(_ =>
            (string.Create(250, random, (text, source) => source.GetItems("ab", text)), 0f, SentencePieceWriter.Normal)));
        using TemporaryFolder folder = SentencePieceTests.WithModel(writer);
        System.Diagnostics.Stopwatch watch = System.Diagnostics.Stopwatch.StartNew();

        Assert.Equal(writer.Pieces.Count, HfTokenizer.LoadFromFolder(folder.Path).VocabularySize);

        TestContext.Current.SendDiagnosticMessage("{0} in {1}", letters, watch.Elapsed);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(60), $"took {watch.Elapsed}");
    }

    [Fact]
    public void A_huge_file_is_refused_without_reading_it()
    {
        using TemporaryFolder folder = new();
        using (FileStream file = File.Create(folder.File("tokenizer.model")))
        {
            file.SetLength(1L << 30);
        }

        TokenizerException error = Assert.Throws<TokenizerException>(() => HfTokenizer.LoadFromFolder(folder.Path));

        Assert.Equal($"{folder.File("tokenizer.model")}: is larger than 16777216 bytes (value: 1073741824)", error.Message);
    }

    [Theory]
    [InlineData("""{"added_tokens_decoder": {"4": {"content": "x"}}}""", "added_tokens_decoder.4.content", "another token")]
    [InlineData("""{"added_tokens_decoder": {"9": {"content": "a"}}}""", "added_tokens_decoder.9.content", "has the id 4")]
    [InlineData("""{"added_tokens_decoder": {"-1": {"content": "x"}}}""", "added_tokens_decoder.-1", "no token id")]
    [InlineData("""{"added_tokens_decoder": {"9999999": {"content": "x"}}}""", "added_tokens_decoder.9999999", "4194303")]
    [InlineData("""{"added_tokens_decoder": {"9": {"content": ""}}}""", "added_tokens_decoder.9.content", "4096")]
    [InlineData("""{"add_bos_token": 5}""", "add_bos_token", "5")]
    public void A_wrong_config_is_named(string config, string key, string detail)
    {
        using TemporaryFolder folder = SentencePieceTests.WithModel(Good).With("tokenizer_config.json", config);

        TokenizerException error = Assert.Throws<TokenizerException>(() => HfTokenizer.LoadFromFolder(folder.Path));

        Assert.Equal(folder.File("tokenizer_config.json"), error.File);
        Assert.Equal(key, error.Key);
        Assert.Contains(detail, error.Message, StringComparison.Ordinal);
    }

    private static byte[] Good { get; } = SentencePieceTests.Minimal().ToBytes();

    private static void RefusePiece((string Text, float Score, int Type) piece, string key, string detail) =>
        Refuse(writer => writer.Pieces.Add(piece), key, detail);

    private static void Refuse(Action<SentencePieceWriter> change, string key, params string[] details)
    {
        SentencePieceWriter writer = SentencePieceTests.Minimal();
        change(writer);
        Refuse(writer.ToBytes(), key, details);
    }

    private static void Refuse(byte[] bytes, string? key, params string[] details)
    {
        using TemporaryFolder folder = SentencePieceTests.WithModel(bytes);
        TokenizerException error = Assert.Throws<TokenizerException>(() => HfTokenizer.LoadFromFolder(folder.Path));
        Assert.StartsWith(folder.File("tokenizer.model"), error.Message, StringComparison.Ordinal);
        Assert.Equal(key ?? "", error.Key ?? "");
        Assert.All(details, detail => Assert.Contains(detail, error.Message, StringComparison.Ordinal));
        Assert.DoesNotContain('\n', error.Message);
    }
}
