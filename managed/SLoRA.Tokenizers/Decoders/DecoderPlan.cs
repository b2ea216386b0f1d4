// Which stages a decoder has, in order. Immutable and shared; Start makes the stages of one stream.

using System.Text;
using SLoRA.Tokenizers.Loading;
using SLoRA.Tokenizers.PreTokenizers;

namespace SLoRA.Tokenizers.Decoders;

internal sealed class DecoderPlan(IReadOnlyList<Func<DecoderStage, DecoderStage>> makers, IReadOnlySet<string> types)
{
    internal bool IsByteLevel => types.Contains("ByteLevel");

    internal bool HasByteFallback => types.Contains("ByteFallback");

    // SentencePiece-like decoders turn U+2581 into a space, by Replace or Metaspace.
    internal bool HasMetaspace => types.Contains("Replace") || types.Contains("Metaspace");

    internal DecoderStage Start(StringBuilder output)
    {
        DecoderStage stage = new OutputStage(output);
        foreach (Func<DecoderStage, DecoderStage> make in makers.Reverse())
        {
            stage = make(stage);
        }

        return stage;
    }
}

// Chooses decoder stages by the "type" in tokenizer.json.
internal static class DecoderTable
{
    internal static DecoderPlan Read(JsonPart part)
    {
        List<Func<DecoderStage, DecoderStage>> makers = [];
        HashSet<string> types = new(StringComparer.Ordinal);
        if (part.IsNull)
        {
            makers.Add(next => new JoinStage(next));
        }
        else
        {
            bool fused = false;
            Add(part, makers, types, ref fused);
        }

        return new DecoderPlan(makers, types);
    }

    private static void Add(
        JsonPart part, List<Func<DecoderStage, DecoderStage>> makers, HashSet<string> types, ref bool fused)
    {
        JsonPart type = part.Require("type");
        types.Add(type.AsString());
        switch (type.AsString())
        {
            case "Sequence":
                foreach (JsonPart item in part.Require("decoders").Items())
                {
                    Add(item, makers, types, ref fused);
                }

                break;
            case "ByteLevel":
                makers.Add(next => new ByteLevelStage(next));
                fused = true;
                break;
            case "ByteFallback":
                makers.Add(next => new ByteFallbackStage(next));
                break;
            case "Fuse":
                makers.Add(next => new FuseStage(next));
                fused = true;
                break;
            case "Strip":
                makers.Add(ReadStrip(part, fused));
                break;
            case "Replace" when fused:
                throw type.Fail("after Fuse is not supported");
            case "Replace":
                string pattern = LiteralPattern.Read(part.Require("pattern"));
                string content = part.Require("content").AsString();
                makers.Add(next => new ReplaceStage(next, pattern, content));
                break;
            case "Metaspace":
                string replacement = part.Require("replacement").AsString();
                bool prepends = PreTokenizerTable.ReadPrepend(part) != MetaspacePrepend.Never;
                makers.Add(next => new MetaspaceStage(next, replacement, prepends));
                break;
            default:
                throw type.Fail("names a decoder that is not supported");
        }
    }

    private static Func<DecoderStage, DecoderStage> ReadStrip(JsonPart part, bool fused)
    {
        string content = part.Require("content").AsString();
        if (content.Length != 1)
        {
            throw part["content"].Fail("must be one character");
        }

        int start = part.Require("start").AsCount();
        int stop = part.Require("stop").AsCount();
        return fused
            ? next => new StripTextStage(next, content[0], start, stop)
            : next => new StripPiecesStage(next, content[0], start, stop);
    }
}
