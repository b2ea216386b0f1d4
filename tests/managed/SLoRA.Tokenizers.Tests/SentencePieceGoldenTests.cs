// tokenizer.model against SentencePiece itself. oracle/make_sentencepiece_golden.mjs made the golden file; the small
// models are in it, Llama 2's is brought to out/tokenizers by oracle/fetch.sh. Without it: skipped.

using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class SentencePieceGoldenTests
{
    private static readonly Lazy<JsonElement[]> Golden = new(ReadGolden);

    [Fact]
    public void Small_models_give_the_ids_of_SentencePiece()
    {
        int count = 0;
        foreach (JsonProperty model in Golden.Value[0].GetProperty("models").EnumerateObject())
        {
            using TemporaryFolder folder = SentencePieceTests.WithModel(model.Value.GetBytesFromBase64());
            count += Compare(HfTokenizer.LoadFromFolder(folder.Path), model.Name);
        }

        Assert.True(count >= 1000, $"{count} strings only");
    }

    [Fact]
    public void Llama_2_gives_the_ids_of_SentencePiece()
    {
        HfTokenizer tokenizer = LoadLlama2();

        int count = Compare(tokenizer, "llama2");

        Assert.True(count >= 2000, $"{count} strings only");
        Assert.Equal(32000, tokenizer.VocabularySize);
        Assert.Equal([1, 15043, 3186], tokenizer.Encode("Hello world", addSpecialTokens: true));
    }

    // A run of one letter and of spaces: the long way through the heap, and many pieces of one score.
    [Fact]
    public void Llama_2_encodes_long_texts_in_time_and_decodes_them_to_themselves()
    {
        HfTokenizer tokenizer = LoadLlama2();
        foreach (string unit in (string[])[" ", "a", "the man was there ", "\n  x"])
        {
            string text = string.Concat(Enumerable.Repeat(unit, 200_000 / unit.Length));
            System.Diagnostics.Stopwatch watch = System.Diagnostics.Stopwatch.StartNew();
            Assert.True(text == tokenizer.Decode([.. tokenizer.Encode(text, addSpecialTokens: false)], skipSpecialTokens: true));
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(60), $"took {watch.Elapsed}");
        }
    }

    // The same vocabulary in the other form, its scores made from the merges, against the library of tokenizer.json.
    [Fact]
    public void A_real_tokenizer_json_gives_the_same_ids_as_a_model()
    {
        string source = Path.Combine(Assets.Root, "out", "tokenizers", "llama2");
        Assert.SkipUnless(File.Exists(Path.Combine(source, "tokenizer.json")), "no vocabulary in out/tokenizers/llama2; oracle/fetch.sh brings it where npm is there");
        HfTokenizer expected = HfTokenizer.LoadFromFolder(source);
        using TemporaryFolder folder = SentencePieceTests.WithModel(
            SentencePieceWriter.FromTokenizerJson(Path.Combine(source, "tokenizer.json")));
        HfTokenizer rebuilt = HfTokenizer.LoadFromFolder(folder.Path);
        foreach (JsonElement line in Golden.Value.Skip(1).Where(line => line[0].GetString() == "llama2"))
        {
            string text = line[1].GetString()!;
            Assert.Equal(expected.Encode(text, addSpecialTokens: false), rebuilt.Encode(text, addSpecialTokens: false));
        }
    }

    private static HfTokenizer LoadLlama2()
    {
        string folder = Path.Combine(Assets.Root, "out", "tokenizers", "sentencepiece");
        string file = Path.Combine(folder, "tokenizer.model");
        Assert.SkipUnless(File.Exists(file), "no model in out/tokenizers/sentencepiece; oracle/fetch.sh brings it where npm is there");
        Assert.Equal(Golden.Value[0].GetProperty("sha256").GetString(), Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(file))));
        return HfTokenizer.LoadFromFolder(folder);
    }

    private static int Compare(HfTokenizer tokenizer, string model)
    {
        int count = 0;
        StringBuilder differences = new();
        foreach (JsonElement line in Golden.Value.Skip(1).Where(line => line[0].GetString() == model))
        {
            string text = line[1].GetString()!;
            string expected = string.Join(' ', line[2].Ints());
            string found = string.Join(' ', tokenizer.Encode(text, addSpecialTokens: false));
            count++;
            if (expected != found)
            {
                differences.AppendLine($"{model} {JsonSerializer.Serialize(text)}: expected {expected}, got {found}");
            }
        }

        Assert.True(differences.Length == 0, differences.ToString());
        return count;
    }

    private static JsonElement[] ReadGolden()
    {
        string file = Path.Combine(Assets.Root, "tests", "managed", "SLoRA.Tokenizers.Tests", "Data", "sentencepiece.jsonl.gz");
        using StreamReader reader = new(new GZipStream(File.OpenRead(file), CompressionMode.Decompress), Encoding.UTF8);
        List<JsonElement> lines = [];
        while (reader.ReadLine() is string line)
        {
            using JsonDocument document = JsonDocument.Parse(line);
            lines.Add(document.RootElement.Clone());
        }

        return [.. lines];
    }
}
