// GPT-2's alphabet: each of the 256 bytes written as one printable character, so that vocabularies are text files.
// Printable Latin-1 bytes stand for themselves, the other 68 for U+0100 … U+0143 in order.

namespace SLoRA.Tokenizers.Models;

internal static class ByteAlphabet
{
    // Past the last character used.
    private const int Size = 0x144;
    private const short NotInAlphabet = -1;

    private static readonly char[] Chars = MakeChars();
    private static readonly short[] Bytes = MakeBytes();

    internal static char CharOf(byte value) => Chars[value];

    internal static bool TryGetByte(char c, out byte value)
    {
        short found = c < Size ? Bytes[c] : NotInAlphabet;
        value = (byte)found;
        return found != NotInAlphabet;
    }

    private static char[] MakeChars()
    {
        char[] chars = new char[256];
        int next = 0x100;
        for (int value = 0; value < 256; value++)
        {
            bool printable = value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            chars[value] = printable ? (char)value : (char)next++;
        }

        return chars;
    }

    private static short[] MakeBytes()
    {
        short[] bytes = new short[Size];
        Array.Fill(bytes, NotInAlphabet);
        for (int value = 0; value < 256; value++)
        {
            bytes[Chars[value]] = (short)value;
        }

        return bytes;
    }
}
