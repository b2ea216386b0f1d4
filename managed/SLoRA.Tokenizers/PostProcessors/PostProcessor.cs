// What is put around an encoded text: the begin-of-text token, mostly. Kept as two lists of ids, because for one text
// (never pairs here) every known processor comes down to that.

using SLoRA.Tokenizers.Loading;

namespace SLoRA.Tokenizers.PostProcessors;

internal sealed record PostProcessor(IReadOnlyList<int> Before, IReadOnlyList<int> After)
{
    internal static readonly PostProcessor None = new([], []);

    // Processors in a sequence wrap one another, the first innermost.
    internal PostProcessor Then(PostProcessor outer) =>
        new([.. outer.Before, .. Before], [.. After, .. outer.After]);
}

internal static class PostProcessorTable
{
    internal static PostProcessor Read(JsonPart part)
    {
        if (part.IsNull)
        {
            return PostProcessor.None;
        }

        JsonPart type = part.Require("type");
        return type.AsString() switch
        {
            // ByteLevel here only trims offsets of white space, and only if asked to. Ids stay, and so do our offsets.
            "ByteLevel" => PostProcessor.None,
            "Sequence" => part.Require("processors").Items().Select(Read)
                .Aggregate(PostProcessor.None, (inner, outer) => inner.Then(outer)),
            "TemplateProcessing" => ReadTemplate(part),
            _ => throw type.Fail("names a post-processor that is not supported"),
        };
    }

    private static PostProcessor ReadTemplate(JsonPart part)
    {
        JsonPart single = part.Require("single");
        JsonPart specials = part.Require("special_tokens");
        List<int> before = [];
        List<int> after = [];
        bool seenText = false;
        foreach (JsonPart item in single.Items())
        {
            JsonPart special = item["SpecialToken"];
            if (!special.IsNull)
            {
                (seenText ? after : before).AddRange(SpecialIds(special, specials));
            }
            else if (!seenText && item.Require("Sequence").Require("id").AsString() == "A")
            {
                seenText = true;
            }
            else
            {
                throw item.Fail("must be the text, once, or a special token");
            }
        }

        return seenText ? new PostProcessor(before, after) : throw single.Fail("leaves the text out");
    }

    private static IEnumerable<int> SpecialIds(JsonPart special, JsonPart specials)
    {
        string name = special.Require("id").AsString();
        return specials.Require(name).Require("ids").Items().Select(id => id.AsId());
    }
}
