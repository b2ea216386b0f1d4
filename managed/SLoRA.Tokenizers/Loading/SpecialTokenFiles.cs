// Which tokens begin and end a text. Models spread this over four files that may disagree; the rules here are:
// begin: tokenizer_config, special_tokens_map, then the id in generation_config or config.
// end: every id of generation_config (of config where that has none), and the tokenizer's own eos_token.

using System.Text.Json;

namespace SLoRA.Tokenizers.Loading;

internal sealed class SpecialTokenFiles
{
    private string? _bosText;
    private string? _eosText;
    private List<int> _bosIds = [];
    private List<int> _eosIds = [];

    // The names that transformers gives to chat templates.
    private static readonly string[] TokenNames =
        ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

    internal static SpecialTokenFiles Read(string folder)
    {
        SpecialTokenFiles result = new();
        foreach (string name in (ReadOnlySpan<string>)["tokenizer_config.json", "special_tokens_map.json"])
        {
            Visit(Path.Combine(folder, name), root =>
            {
                result._bosText ??= TokenText(root["bos_token"]);
                result._eosText ??= TokenText(root["eos_token"]);
            });
        }

        foreach (string name in (ReadOnlySpan<string>)["generation_config.json", "config.json"])
        {
            Visit(Path.Combine(folder, name), root =>
            {
                result._bosIds = result._bosIds.Count > 0 ? result._bosIds : Ids(root["bos_token_id"]);
                result._eosIds = result._eosIds.Count > 0 ? result._eosIds : Ids(root["eos_token_id"]);
            });
        }

        return result;
    }

    // Texts of the special tokens by their names in the files, as far as the folder has them.
    internal static Dictionary<string, string> ReadTexts(string folder)
    {
        Dictionary<string, string> texts = new(StringComparer.Ordinal);
        foreach (string name in (ReadOnlySpan<string>)["tokenizer_config.json", "special_tokens_map.json"])
        {
            Visit(Path.Combine(folder, name), root =>
            {
                foreach (string token in TokenNames)
                {
                    if (TokenText(root[token]) is string text)
                    {
                        texts.TryAdd(token, text);
                    }
                }
            });
        }

        return texts;
    }

    internal int? BosId(Func<string, int?> idOf) =>
        (_bosText is null ? null : idOf(_bosText)) ?? (_bosIds.Count > 0 ? _bosIds[0] : null);

    internal IReadOnlyList<int> EosIds(Func<string, int?> idOf)
    {
        List<int> ids = [.. _eosIds];
        if (_eosText is not null && idOf(_eosText) is int own)
        {
            ids.Add(own);
        }

        return [.. ids.Distinct()];
    }

    // A token is written as a string or as an object with its content.
    internal static string? TokenText(JsonPart token)
    {
        if (token.IsNull)
        {
            return null;
        }

        return token.IsObject ? token.Require("content").AsString() : token.AsString();
    }

    private static List<int> Ids(JsonPart ids) =>
        ids.IsNull ? [] : ids.IsArray ? [.. ids.Items().Select(id => id.AsId())] : [ids.AsId()];

    private static void Visit(string file, Action<JsonPart> visit)
    {
        using JsonDocument? document = JsonFile.TryOpen(file);
        if (document is not null)
        {
            visit(new JsonPart(document.RootElement, file, ""));
        }
    }
}
