// The demo model's tokenizer against the reference library's ids, offsets and decoded text.

using System.Text.Json;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class DemoTokenizerGoldenTests
{
    private static readonly HfTokenizer Tokenizer = HfTokenizer.LoadFromFolder(Assets.DemoBase);
    private static readonly JsonElement Golden = Assets.ReadJson(Assets.Demo("goldens/tokenizer.json"));

    private static IEnumerable<JsonElement> EncodeCases => Golden.GetProperty("encode").EnumerateArray();

    private static IEnumerable<JsonElement> DecodeCases => Golden.GetProperty("decode").EnumerateArray();

    [Fact]
    public void Golden_file_has_the_expected_number_of_cases()
    {
        Assert.Equal(82, EncodeCases.Count());
        Assert.Equal(60, DecodeCases.Count());
    }

    [Fact]
    public void Ids_are_those_of_the_reference()
    {
        foreach (JsonElement item in EncodeCases)
        {
            string text = item.GetProperty("text").GetString()!;
            Assert.Equal(item.GetProperty("ids").Ints(), Tokenizer.Encode(text, addSpecialTokens: false));
            Assert.Equal(item.GetProperty("ids_with_bos").Ints(), Tokenizer.Encode(text, addSpecialTokens: true));
        }
    }

    [Fact]
    public void Token_texts_are_those_of_the_reference()
    {
        foreach (JsonElement item in EncodeCases)
        {
            string[] tokens = [.. item.GetProperty("ids").Ints().Select(Tokenizer.TokenText)];
            Assert.Equal(item.GetProperty("tokens").Strings(), tokens);
        }
    }

    [Fact]
    public void Offsets_are_those_of_the_reference()
    {
        foreach (JsonElement item in EncodeCases)
        {
            string text = item.GetProperty("text").GetString()!;
            int[][] offsets =
            [
                .. Tokenizer.EncodeWithOffsets(text, addSpecialTokens: false).Select(
                    piece => new[] { Assets.CodePoints(text, piece.Start), Assets.CodePoints(text, piece.End) }),
            ];
            Assert.Equal(item.GetProperty("offsets").EnumerateArray().Select(pair => pair.Ints()), offsets);
        }
    }

    [Fact]
    public void Decoded_texts_are_those_of_the_reference()
    {
        foreach (JsonElement item in EncodeCases.Concat(DecodeCases))
        {
            int[] ids = item.GetProperty("ids").Ints();
            Assert.Equal(item.GetProperty("decoded").GetString(), Tokenizer.Decode(ids, skipSpecialTokens: false));
            Assert.Equal(
                item.GetProperty("decoded_skip_special").GetString(), Tokenizer.Decode(ids, skipSpecialTokens: true));
        }
    }

    [Fact]
    public void Streamed_text_is_the_decoded_text()
    {
        foreach (JsonElement item in EncodeCases.Concat(DecodeCases))
        {
            StreamingDecoder decoder = Tokenizer.CreateStreamingDecoder(skipSpecialTokens: false);
            string streamed = string.Concat(item.GetProperty("ids").Ints().Select(decoder.Push)) + decoder.Finish();
            Assert.Equal(item.GetProperty("decoded").GetString(), streamed);
        }
    }

    [Fact]
    public void Special_tokens_come_from_all_files_of_the_folder()
    {
        Assert.Equal(4096, Tokenizer.VocabularySize);
        Assert.Equal(4080, Tokenizer.BosId);
        Assert.Equal([4081, 4089], Tokenizer.EosIds);
        Assert.True(Tokenizer.IsSpecial(4089));
        Assert.False(Tokenizer.IsSpecial(220));
        Assert.False(Tokenizer.IsSpecial(99_999));
        Assert.Equal(4089, Tokenizer.TokenId("<|eot_id|>"));
        Assert.Null(Tokenizer.TokenId("<|no_such_token|>"));
    }

    [Fact]
    public void Task_files_of_the_adapters_have_the_same_prompt_ids()
    {
        int checkedLines = 0;
        foreach (string file in Directory.GetFiles(Assets.Demo("goldens"), "*.tasks.jsonl"))
        {
            foreach (string line in File.ReadLines(file))
            {
                using JsonDocument document = JsonDocument.Parse(line);
                JsonElement task = document.RootElement;
                // The chat file has messages instead of a prompt.
                if (task.TryGetProperty("prompt", out JsonElement prompt))
                {
                    int[] expected = task.GetProperty("prompt_ids").Ints();
                    Assert.Equal(expected, Tokenizer.Encode(prompt.GetString()!, addSpecialTokens: true));
                    checkedLines++;
                }
            }
        }

        Assert.True(checkedLines > 1000);
    }
}
