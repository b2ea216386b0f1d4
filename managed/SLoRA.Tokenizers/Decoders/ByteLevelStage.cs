// The byte alphabet back to bytes, and bytes to text. UTF-8 that cannot become valid turns into U+FFFD, one for each
// maximal part of a character, as Rust's lossy conversion and .NET's decoder both do.

using System.Text;
using SLoRA.Tokenizers.Models;

namespace SLoRA.Tokenizers.Decoders;

internal sealed class ByteLevelStage(DecoderStage next) : DecoderStage(next)
{
    // Replaces invalid bytes and keeps the start of a character until the next call.
    private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();
    private byte[] _bytes = new byte[64];
    private char[] _chars = new char[64];

    internal override void Accept(string piece)
    {
        int count = ToBytes(piece, ref _bytes);
        Decode(_bytes.AsSpan(0, count), flush: false);
    }

    internal override void Finish()
    {
        Decode([], flush: true);
        base.Finish();
    }

    // A token with any character outside the alphabet (an added token) stands for its own UTF-8 bytes.
    internal static int ToBytes(string token, ref byte[] buffer)
    {
        int room = Encoding.UTF8.GetMaxByteCount(token.Length);
        if (buffer.Length < room)
        {
            buffer = new byte[room];
        }

        for (int i = 0; i < token.Length; i++)
        {
            if (!ByteAlphabet.TryGetByte(token[i], out buffer[i]))
            {
                return Encoding.UTF8.GetBytes(token, buffer);
            }
        }

        return token.Length;
    }

    private void Decode(ReadOnlySpan<byte> bytes, bool flush)
    {
        int room = Encoding.UTF8.GetMaxCharCount(bytes.Length);
        if (_chars.Length < room)
        {
            _chars = new char[room];
        }

        int count = _decoder.GetChars(bytes, _chars, flush);
        if (count > 0)
        {
            Emit(new string(_chars, 0, count));
        }
    }
}
