// Decides whether an adapter that ships tokenizer files can be served with the base's tokenizer. All requests of a batch
// are encoded by the base's; an adapter trained on other ids would answer nonsense without any error.

using System.Text.Json;
using SLoRA.Tokenizers.Loading;
using SLoRA.Tokenizers.Templates;

namespace SLoRA.Tokenizers;

/// <summary>Compares the tokenizer files of an adapter folder with the base model's tokenizer.</summary>
public static class AdapterTokenizerCheck
{
    // Texts on which normalizers, pre-tokenizers and post-processors differ that share vocabulary and merges.
    private static readonly string[] Probes =
    [
        "Hello world", " Hello  world ", "It's 1984, 12345", "a\n\n  b\tc \r\n", "de\u0301ja\u0300 vu", "你好 \U0001F642", "don't DON'T",
    ];

    /// <summary>Inspects an adapter folder.</summary>
    /// <param name="baseTokenizer">The base model's tokenizer.</param>
    /// <param name="adapterFolder">The adapter's folder.</param>
    /// <param name="limits">Bounds on the adapter's chat template; null: <see cref="TemplateLimits.Default"/>.</param>
    /// <returns>The verdict, the reason where it is <see cref="AdapterTokenizerVerdict.Different"/>, and the adapter's
    /// chat template. Special tokens that the adapter does not name are the base's in that template.</returns>
    /// <exception cref="TokenizerException">A tokenizer file of the adapter is malformed or unsupported.</exception>
    /// <exception cref="TemplateException">The adapter's chat template is malformed or unsupported.</exception>
    public static AdapterTokenizerReport Inspect(
        HfTokenizer baseTokenizer, string adapterFolder, TemplateLimits? limits = null)
    {
        ArgumentNullException.ThrowIfNull(baseTokenizer);
        ArgumentException.ThrowIfNullOrEmpty(adapterFolder);
        ChatTemplate? template = ChatTemplate.LoadFromFolder(adapterFolder, limits)
            ?.WithFallbackTokens(baseTokenizer.SpecialTokens);
        (bool found, string? reason) = Compare(baseTokenizer, adapterFolder);
        AdapterTokenizerVerdict verdict = reason is not null ? AdapterTokenizerVerdict.Different
            : found ? AdapterTokenizerVerdict.Same
            : AdapterTokenizerVerdict.None;
        return new AdapterTokenizerReport(verdict, reason, template);
    }

    private static (bool Found, string? Reason) Compare(HfTokenizer baseTokenizer, string folder)
    {
        bool hasJson = File.Exists(Path.Combine(folder, TokenizerLoader.TokenizerFile));
        bool hasModel = !hasJson && File.Exists(Path.Combine(folder, SentencePieceLoader.ModelFile));
        if ((hasJson || hasModel) && hasModel == baseTokenizer.IsSentencePiece)
        {
            HfTokenizer own = HfTokenizer.LoadFromFolder(folder);
            return (true, TokenDifference(baseTokenizer, own)
                ?? MergeDifference(baseTokenizer, own)
                ?? ProbeDifference(baseTokenizer, own));
        }

        // The one file has scores and the other merges: equal ids could not be told from different ones.
        if (hasModel)
        {
            return (true, "the adapter has a tokenizer.model but no tokenizer.json that could be compared with the base's");
        }

        if (hasJson)
        {
            return (true, "the adapter has a tokenizer.json that cannot be compared with the base's tokenizer.model");
        }

        List<(string Token, int Id)> added = AddedTokens(folder);
        string? reason = added
            .Where(token => baseTokenizer.TokenId(token.Token) != token.Id)
            .OrderBy(token => token.Id)
            .Select(token => Describe(token.Id, TextOf(baseTokenizer, token.Id), token.Token))
            .FirstOrDefault();
        return (added.Count > 0, reason);
    }

    private static string? TokenDifference(HfTokenizer baseTokenizer, HfTokenizer own)
    {
        int count = Math.Max(baseTokenizer.VocabularySize, own.VocabularySize);
        for (int id = 0; id < count; id++)
        {
            string? expected = TextOf(baseTokenizer, id);
            string? found = TextOf(own, id);
            if (!string.Equals(expected, found, StringComparison.Ordinal))
            {
                return Describe(id, expected, found);
            }

            if (baseTokenizer.IsSpecial(id) != own.IsSpecial(id))
            {
                return $"token {id} ({Quote(found)}) is special in only one of the base's and the adapter's tokenizer";
            }
        }

        return null;
    }

    private static string? MergeDifference(HfTokenizer baseTokenizer, HfTokenizer own) =>
        baseTokenizer.Merges.FirstDifference(own.Merges) is var (left, right)
            ? $"the merge of {Quote(own.TokenText(left))} and {Quote(own.TokenText(right))} is not the same in the base's "
                + "and the adapter's tokenizer"
            : null;

    private static string? ProbeDifference(HfTokenizer baseTokenizer, HfTokenizer own)
    {
        foreach (string probe in Probes)
        {
            IReadOnlyList<int> expected = baseTokenizer.Encode(probe, addSpecialTokens: true);
            IReadOnlyList<int> found = own.Encode(probe, addSpecialTokens: true);
            if (!expected.SequenceEqual(found))
            {
                int at = expected.Zip(found).TakeWhile(pair => pair.First == pair.Second).Count();
                return $"the text {Quote(probe)} is encoded differently from token {at} on: the base gives "
                    + $"{IdAt(expected, at)}, the adapter {IdAt(found, at)}";
            }
        }

        return null;
    }

    // Adapters without tokenizer.json may still list tokens they added, in either of two files.
    private static List<(string Token, int Id)> AddedTokens(string folder)
    {
        List<(string Token, int Id)> result = [];
        string config = Path.Combine(folder, "tokenizer_config.json");
        using (JsonDocument? document = JsonFile.TryOpen(config))
        {
            JsonPart tokens = document is null ? default : new JsonPart(document.RootElement, config, "")["added_tokens_decoder"];
            foreach ((string id, JsonPart token) in tokens.IsNull ? [] : tokens.Properties())
            {
                result.Add((
                    token.Require("content").AsString(),
                    int.TryParse(id, out int number) ? number : throw token.Fail("has a key that is no token id")));
            }
        }

        string list = Path.Combine(folder, "added_tokens.json");
        using (JsonDocument? document = JsonFile.TryOpen(list))
        {
            if (document is not null)
            {
                result.AddRange(new JsonPart(document.RootElement, list, "").Properties()
                    .Select(token => (token.Key, token.Value.AsId())));
            }
        }

        return result;
    }

    private static string Describe(int id, string? expected, string? found) =>
        $"token {id} is {Quote(expected)} in the base's tokenizer and {Quote(found)} in the adapter's";

    private static string? TextOf(HfTokenizer tokenizer, int id) =>
        tokenizer.Tokens.Contains(id) ? tokenizer.Tokens.Text(id) : null;

    private static string IdAt(IReadOnlyList<int> ids, int at) =>
        at < ids.Count ? ids[at].ToString(System.Globalization.CultureInfo.InvariantCulture) : "nothing";

    // One line, whatever the token holds.
    private static string Quote(string? token) =>
        token is null ? "missing" : $"\"{token.Replace("\n", "\\n", StringComparison.Ordinal).Replace("\r", "\\r", StringComparison.Ordinal)}\"";
}
