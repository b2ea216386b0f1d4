// Token id → the bytes it adds to a text, in one array. Made on first use, because many hosts never ask.

using System.Text;
using SLoRA.Tokenizers.Decoders;
using SLoRA.Tokenizers.Models;

namespace SLoRA.Tokenizers;

internal sealed class TokenBytesTable(TokenTable tokens, DecoderPlan decoder)
{
    private readonly Lazy<(byte[] Bytes, int[] Offsets)> _table = new(() => Make(tokens, decoder));

    internal ReadOnlyMemory<byte> this[int id]
    {
        get
        {
            (byte[] bytes, int[] offsets) = _table.Value;
            return bytes.AsMemory(offsets[id], offsets[id + 1] - offsets[id]);
        }
    }

    private static (byte[] Bytes, int[] Offsets) Make(TokenTable tokens, DecoderPlan decoder)
    {
        MemoryStream bytes = new();
        int[] offsets = new int[tokens.Count + 1];
        byte[] buffer = new byte[64];
        for (int id = 0; id < tokens.Count; id++)
        {
            // First the count: BytesOf may put a larger buffer in place of this one.
            int count = BytesOf(tokens.Text(id), decoder, ref buffer);
            bytes.Write(buffer, 0, count);
            offsets[id + 1] = (int)bytes.Length;
        }

        return (bytes.ToArray(), offsets);
    }

    private static int BytesOf(string token, DecoderPlan decoder, ref byte[] buffer)
    {
        if (decoder.IsByteLevel)
        {
            return ByteLevelStage.ToBytes(token, ref buffer);
        }

        if (decoder.HasByteFallback && ByteFallbackToken.TryParse(token, out byte value))
        {
            buffer[0] = value;
            return 1;
        }

        string text = decoder.HasMetaspace ? token.Replace('\u2581', ' ') : token;
        buffer = buffer.Length < Encoding.UTF8.GetMaxByteCount(text.Length)
            ? new byte[Encoding.UTF8.GetMaxByteCount(text.Length)]
            : buffer;
        return Encoding.UTF8.GetBytes(text, buffer);
    }
}
