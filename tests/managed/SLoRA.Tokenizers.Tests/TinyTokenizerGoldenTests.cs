// The tokenizers of the tiny checkpoints (several families) against the reference library.

using System.Text.Json;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class TinyTokenizerGoldenTests
{
    [Theory]
    [InlineData("llama3-gqa")]
    [InlineData("qwen2")]
    [InlineData("qwen2-yarn")]
    [InlineData("qwen3")]
    [InlineData("llama-mha")]
    [InlineData("llama-f32")]
    [InlineData("llama-bias-linear")]
    [InlineData("mistral-swa")]
    [InlineData("gemma2")]
    [InlineData("phi3")]
    public void Encoding_and_decoding_are_those_of_the_reference(string model)
    {
        HfTokenizer tokenizer = HfTokenizer.LoadFromFolder(Assets.Tiny(model));
        foreach (JsonElement item in Assets.ReadJson(Path.Combine(Assets.Tiny(model), "golden_tokenizer.json")).EnumerateArray())
        {
            string text = item.GetProperty("text").GetString()!;
            int[] ids = item.GetProperty("ids").Ints();
            Assert.Equal(ids, tokenizer.Encode(text, addSpecialTokens: false));
            Assert.Equal(item.GetProperty("ids_with_special").Ints(), tokenizer.Encode(text, addSpecialTokens: true));
            Assert.Equal(item.GetProperty("tokens").Strings(), ids.Select(tokenizer.TokenText));
            Assert.Equal(item.GetProperty("decoded").GetString(), tokenizer.Decode(ids, skipSpecialTokens: false));
            Assert.Equal(
                item.GetProperty("decoded_skip_special").GetString(), tokenizer.Decode(ids, skipSpecialTokens: true));
            StreamingDecoder decoder = tokenizer.CreateStreamingDecoder(skipSpecialTokens: false);
            Assert.Equal(
                item.GetProperty("decoded").GetString(), string.Concat(ids.Select(decoder.Push)) + decoder.Finish());
        }
    }
}
