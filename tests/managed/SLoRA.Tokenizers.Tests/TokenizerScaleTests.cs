// Long prompts and many threads. The time bounds are some fifty times what one slow core needs; quadratic work would
// take hours.

using System.Diagnostics;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class TokenizerScaleTests
{
    private const int OneMegabyte = 1_000_000;
    private static readonly TimeSpan Bound = TimeSpan.FromSeconds(60);
    private static readonly HfTokenizer Demo = HfTokenizer.LoadFromFolder(Assets.DemoBase);

    [Theory]
    [InlineData("a", OneMegabyte)]
    [InlineData(" ", OneMegabyte)]
    [InlineData("\n", OneMegabyte / 5)]
    [InlineData("ab", OneMegabyte / 5)]
    [InlineData("!", OneMegabyte / 5)]
    [InlineData("'s", OneMegabyte / 5)]
    [InlineData("<|", OneMegabyte / 5)]
    [InlineData("é", OneMegabyte / 5)]
    [InlineData("\U0001F642", OneMegabyte / 5)]
    [InlineData("the king said ", OneMegabyte / 5)]
    public void Long_repeats_are_encoded_in_time_and_decode_to_themselves(string unit, int chars)
    {
        string text = string.Concat(Enumerable.Repeat(unit, chars / unit.Length));
        Stopwatch watch = Stopwatch.StartNew();

        IReadOnlyList<int> ids = Demo.Encode(text, addSpecialTokens: false);

        Assert.True(watch.Elapsed < Bound, $"took {watch.Elapsed}");
        Assert.True(text == Demo.Decode([.. ids], skipSpecialTokens: false));
    }

    [Fact]
    public void A_megabyte_without_pre_tokenizer_is_encoded_in_time()
    {
        HfTokenizer tokenizer = HfTokenizer.LoadFromFolder(Assets.Tiny("llama-mha"));
        string text = string.Concat(Enumerable.Repeat("the man was there ", OneMegabyte / 18));
        Stopwatch watch = Stopwatch.StartNew();

        IReadOnlyList<int> ids = tokenizer.Encode(text, addSpecialTokens: false);

        Assert.True(watch.Elapsed < Bound, $"took {watch.Elapsed}");
        Assert.True(text == tokenizer.Decode([.. ids], skipSpecialTokens: false));
    }

    // The heap (long words) and the scan (short ones) must merge alike: long words are compared with their own parts.
    [Fact]
    public void Long_words_merge_as_their_tokens_say()
    {
        Random random = new(11);
        for (int run = 0; run < 200; run++)
        {
            string word = string.Concat(Enumerable.Range(0, random.Next(25, 80)).Select(_ => "aeinrstlohd"[random.Next(11)]));
            IReadOnlyList<TokenPiece> pieces = Demo.EncodeWithOffsets(word, addSpecialTokens: false);
            Assert.Equal(word, string.Concat(pieces.Select(piece => Demo.TokenText(piece.Id))));
            Assert.All(pieces, piece => Assert.Equal(word[piece.Start..piece.End], Demo.TokenText(piece.Id)));
        }
    }

    [Fact]
    public void Many_threads_give_the_same_ids()
    {
        string[] texts = [.. Enumerable.Range(0, 64).Select(i => $"Text {i} 'tis über 12{i}45 <|eot_id|> the king said")];
        int[][] expected = [.. texts.Select(text => Demo.Encode(text, addSpecialTokens: true).ToArray())];
        int wrong = 0;

        Parallel.For(0, 512, i =>
        {
            int[] ids = [.. Demo.Encode(texts[i % 64], addSpecialTokens: true)];
            if (!ids.AsSpan().SequenceEqual(expected[i % 64]) || Demo.Decode(ids, skipSpecialTokens: true).Length == 0)
            {
                Interlocked.Increment(ref wrong);
            }
        });

        Assert.Equal(0, wrong);
    }
}
