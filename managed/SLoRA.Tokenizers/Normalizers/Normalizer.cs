// The normalizers this library knows. Each is a small immutable type; NormalizerTable chooses by the name in
// tokenizer.json.

namespace SLoRA.Tokenizers.Normalizers;

internal abstract class Normalizer
{
    internal abstract NormalizedText Apply(NormalizedText text);
}

internal sealed class IdentityNormalizer : Normalizer
{
    internal static readonly IdentityNormalizer Instance = new();

    internal override NormalizedText Apply(NormalizedText text) => text;
}

internal sealed class NormalizerSequence(IReadOnlyList<Normalizer> parts) : Normalizer
{
    internal override NormalizedText Apply(NormalizedText text)
    {
        foreach (Normalizer part in parts)
        {
            text = part.Apply(text);
        }

        return text;
    }
}

internal sealed class PrependNormalizer(string prefix) : Normalizer
{
    internal override NormalizedText Apply(NormalizedText text) => text.Prepend(prefix);
}

internal sealed class ReplaceNormalizer(string pattern, string content) : Normalizer
{
    internal override NormalizedText Apply(NormalizedText text) => text.ReplaceAll(pattern, content);
}

// Canonical composition. Works in segments that start at an ASCII character, because composition never crosses one from
// the left: only the segments that change pay for new alignment. Inside a changed segment every character stands for
// the whole segment.
internal sealed class NfcNormalizer : Normalizer
{
    internal override NormalizedText Apply(NormalizedText text)
    {
        string source = text.Text;
        if (!CanonicalComposition.MayChange(source))
        {
            return text;
        }

        NormalizedText.Builder builder = new(text, source.Length);
        int start = 0;
        while (start < source.Length)
        {
            int end = SegmentEnd(source, start);
            string segment = source[start..end];
            string composed = CanonicalComposition.MayChange(segment) ? CanonicalComposition.Compose(segment) : segment;
            if (string.Equals(segment, composed, StringComparison.Ordinal))
            {
                builder.AppendKept(start, end);
            }
            else
            {
                builder.AppendReplacement(composed, start, end);
            }

            start = end;
        }

        return builder.Build();
    }

    private static int SegmentEnd(string source, int start)
    {
        int end = start + 1;
        while (end < source.Length && source[end] >= 0x80)
        {
            end++;
        }

        return end;
    }
}
