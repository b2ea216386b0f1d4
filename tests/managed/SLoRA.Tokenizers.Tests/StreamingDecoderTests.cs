// Streams of ids: never half a character, and in sum what Decode gives.

using System.Text;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class StreamingDecoderTests
{
    private const int RandomLists = 300;

    private static readonly HfTokenizer Demo = HfTokenizer.LoadFromFolder(Assets.DemoBase);

    [Theory]
    [InlineData("qwen2")]
    [InlineData("llama-mha")]
    [InlineData("mistral-swa")]
    [InlineData("gemma2")]
    public void Random_ids_stream_to_the_decoded_text(string model) =>
        CheckRandomLists(HfTokenizer.LoadFromFolder(Assets.Tiny(model)));

    [Fact]
    public void Random_ids_of_the_demo_model_stream_to_the_decoded_text() => CheckRandomLists(Demo);

    [Fact]
    public void Random_ids_decode_as_their_bytes_do()
    {
        Random random = new(3);
        for (int run = 0; run < RandomLists; run++)
        {
            int[] ids = RandomIds(random, Demo.VocabularySize);
            byte[] bytes = [.. ids.SelectMany(id => Demo.TokenBytes(id).ToArray())];
            Assert.Equal(Encoding.UTF8.GetString(bytes), Demo.Decode(ids, skipSpecialTokens: false));
        }
    }

    [Fact]
    public void A_split_character_is_held_until_it_is_whole()
    {
        IReadOnlyList<int> ids = Demo.Encode("\U0001F642!", addSpecialTokens: false);
        StreamingDecoder decoder = Demo.CreateStreamingDecoder(skipSpecialTokens: false);

        Assert.Equal(["", "", "", "\U0001F642", "!", ""], [.. ids.Select(decoder.Push), decoder.Finish()]);
    }

    [Fact]
    public void An_unfinished_character_comes_out_at_the_end_as_a_replacement()
    {
        IReadOnlyList<int> ids = Demo.Encode("\U0001F642", addSpecialTokens: false);
        StreamingDecoder decoder = Demo.CreateStreamingDecoder(skipSpecialTokens: false);

        Assert.Equal("", decoder.Push(ids[0]) + decoder.Push(ids[1]));
        Assert.Equal("\uFFFD", decoder.Finish());
        Assert.Equal("", decoder.Finish());
    }

    [Fact]
    public void An_invalid_byte_does_not_hold_back_what_follows()
    {
        int lead = Demo.Encode("\U0001F642", addSpecialTokens: false)[0];
        int letter = Demo.TokenId("a")!.Value;
        StreamingDecoder decoder = Demo.CreateStreamingDecoder(skipSpecialTokens: false);

        Assert.Equal(["", "\uFFFDa"], [decoder.Push(lead), decoder.Push(letter)]);
    }

    [Fact]
    public void Special_tokens_are_left_out_when_asked_to()
    {
        int[] ids = [.. Demo.Encode("a<|eot_id|>b", addSpecialTokens: true)];

        Assert.Equal("ab", Demo.Decode(ids, skipSpecialTokens: true));
        Assert.Equal("<|begin_of_text|>a<|eot_id|>b", Demo.Decode(ids, skipSpecialTokens: false));
    }

    [Fact]
    public void Ids_outside_the_vocabulary_add_nothing() =>
        Assert.Equal("a", Demo.Decode([-1, Demo.TokenId("a")!.Value, 4096, int.MaxValue], skipSpecialTokens: false));

    private static void CheckRandomLists(HfTokenizer tokenizer)
    {
        Random random = new(1);
        for (int run = 0; run < RandomLists; run++)
        {
            int[] ids = RandomIds(random, tokenizer.VocabularySize);
            foreach (bool skip in (bool[])[false, true])
            {
                StreamingDecoder decoder = tokenizer.CreateStreamingDecoder(skip);
                string[] deltas = [.. ids.Select(decoder.Push), decoder.Finish()];
                Assert.All(deltas, delta => Assert.True(IsWhole(delta)));
                Assert.Equal(tokenizer.Decode(ids, skip), string.Concat(deltas));
            }
        }
    }

    private static int[] RandomIds(Random random, int count) =>
        [.. Enumerable.Range(0, random.Next(0, 40)).Select(_ => random.Next(count))];

    private static bool IsWhole(string text) =>
        text.Length == 0 || (!char.IsLowSurrogate(text[0]) && !char.IsHighSurrogate(text[^1]));
}
