// Chooses pre-tokenizers by the "type" in tokenizer.json, and matchers by the exact text of the regular expression.
// Anything unknown is refused: a nearly right split gives other ids without anyone noticing.

using SLoRA.Tokenizers.Loading;

namespace SLoRA.Tokenizers.PreTokenizers;

internal static class PreTokenizerTable
{
    private static readonly Dictionary<string, PatternRules> KnownPatterns = new(StringComparer.Ordinal)
    {
        [@"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
            = PatternRules.Llama3,
        [@"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
            = PatternRules.Qwen2,
        [@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"] = PatternRules.Gpt2,
    };

    internal static PreTokenizer Read(JsonPart part)
    {
        if (part.IsNull)
        {
            return IdentityPreTokenizer.Instance;
        }

        JsonPart type = part.Require("type");
        return type.AsString() switch
        {
            "Sequence" => new PreTokenizerSequence([.. part.Require("pretokenizers").Items().Select(Read)]),
            "Split" => ReadSplit(part),
            "ByteLevel" => new ByteLevelPreTokenizer(
                part["add_prefix_space"].AsBool(true),
                part["use_regex"].AsBool(true) ? new PatternPreTokenizer(PatternRules.Gpt2) : null),
            "Metaspace" => ReadMetaspace(part),
            _ => throw type.Fail("names a pre-tokenizer that is not supported"),
        };
    }

    // Whether the model's vocabulary is written in the byte alphabet.
    internal static bool IsByteLevel(JsonPart part)
    {
        if (part.IsNull)
        {
            return false;
        }

        string type = part.Require("type").AsString();
        return type == "ByteLevel"
            || (type == "Sequence" && part.Require("pretokenizers").Items().Any(IsByteLevel));
    }

    private static PreTokenizer ReadSplit(JsonPart part)
    {
        if (part["invert"].AsBool(false))
        {
            throw part["invert"].Fail("is not supported");
        }

        JsonPart pattern = part.Require("pattern");
        JsonPart behavior = part.Require("behavior");
        JsonPart regex = pattern["Regex"];
        if (regex.IsNull)
        {
            return new LiteralPreTokenizer(LiteralPattern.Read(pattern), ReadBehavior(behavior));
        }

        // Every character is part of a match of the known patterns, so cutting at the matches loses nothing;
        // no other behaviour is seen with them.
        if (behavior.AsString() != "Isolated")
        {
            throw behavior.Fail("is not supported together with a regular expression");
        }

        return KnownPatterns.TryGetValue(regex.AsString(), out PatternRules? rules)
            ? new PatternPreTokenizer(rules)
            : throw regex.Fail("is a regular expression that is not supported");
    }

    private static LiteralBehavior ReadBehavior(JsonPart behavior) => behavior.AsString() switch
    {
        "Isolated" => LiteralBehavior.Isolated,
        "Removed" => LiteralBehavior.Removed,
        "MergedWithPrevious" => LiteralBehavior.MergedWithPrevious,
        "MergedWithNext" => LiteralBehavior.MergedWithNext,
        _ => throw behavior.Fail("is a split behaviour that is not supported"),
    };

    private static MetaspacePreTokenizer ReadMetaspace(JsonPart part)
    {
        JsonPart replacement = part.Require("replacement");
        string text = replacement.AsString();
        return text.Length == 1
            ? new MetaspacePreTokenizer(text, ReadPrepend(part), part["split"].AsBool(true))
            : throw replacement.Fail("must be one character");
    }

    internal static MetaspacePrepend ReadPrepend(JsonPart part)
    {
        JsonPart scheme = part["prepend_scheme"];
        if (scheme.IsNull)
        {
            return part["add_prefix_space"].AsBool(true) ? MetaspacePrepend.Always : MetaspacePrepend.Never;
        }

        return scheme.AsString() switch
        {
            "always" => MetaspacePrepend.Always,
            "first" => MetaspacePrepend.First,
            "never" => MetaspacePrepend.Never,
            _ => throw scheme.Fail("must be always, first or never"),
        };
    }
}
