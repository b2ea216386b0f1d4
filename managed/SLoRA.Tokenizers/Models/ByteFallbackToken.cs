// The tokens <0x00> … <0xFF> that stand for one byte each in SentencePiece-like vocabularies.

using System.Globalization;

namespace SLoRA.Tokenizers.Models;

internal static class ByteFallbackToken
{
    private const int Length = 6;

    // The id of each byte's token, −1 where the vocabulary lacks it.
    internal static int[] IdsOf(Dictionary<string, int> vocabulary)
    {
        int[] ids = new int[256];
        for (int value = 0; value < 256; value++)
        {
            ids[value] = vocabulary.TryGetValue(TextOf((byte)value), out int id) ? id : -1;
        }

        return ids;
    }

    internal static string TextOf(byte value) => string.Create(CultureInfo.InvariantCulture, $"<0x{value:X2}>");

    internal static bool TryParse(string token, out byte value)
    {
        value = 0;
        return token.Length == Length
            && token.StartsWith("<0x", StringComparison.Ordinal)
            && token[^1] == '>'
            && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }
}
