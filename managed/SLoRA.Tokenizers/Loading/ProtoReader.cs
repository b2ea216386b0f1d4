// Reads the wire format of protocol buffers, field by field, from bytes that may be hostile: every length is checked
// against what is left, and every refusal names the field. Reading only; what fields mean is the caller's business.

using System.Buffers.Binary;
using System.Text;

namespace SLoRA.Tokenizers.Loading;

internal ref struct ProtoReader(ReadOnlySpan<byte> bytes, string file, string path)
{
    private const int Varint = 0;
    private const int Fixed64 = 1;
    private const int Bytes = 2;
    private const int Fixed32 = 5;
    private const int MaxVarintBytes = 10;

    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private readonly ReadOnlySpan<byte> _bytes = bytes;
    private readonly string _path = path;
    private int _at;
    private int _wireType;

    // Goes to the next field; false at the end of the message.
    internal bool Next(out int field)
    {
        field = 0;
        if (_at == _bytes.Length)
        {
            return false;
        }

        ulong tag = ReadVarint("a field's tag");
        _wireType = (int)(tag & 7);
        if (tag >> 3 is 0 or > 0x1FFF_FFFF)
        {
            throw Fail("", "has a field number that is not valid", $"{tag >> 3}");
        }

        field = (int)(tag >> 3);
        return true;
    }

    internal void Skip()
    {
        switch (_wireType)
        {
            case Varint:
                ReadVarint("an unknown field");
                break;
            case Fixed64:
                Take("an unknown field", 8);
                break;
            case Bytes:
                ReadBytes("an unknown field");
                break;
            case Fixed32:
                Take("an unknown field", 4);
                break;
            default:
                throw Fail("", "has a field of a wire type that is not supported", $"{_wireType}");
        }
    }

    internal ReadOnlySpan<byte> BytesOf(string name)
    {
        Expect(name, Bytes);
        return ReadBytes(name);
    }

    internal ProtoReader MessageOf(string name) => new(BytesOf(name), file, Join(name));

    internal string TextOf(string name, int maxBytes)
    {
        ReadOnlySpan<byte> text = BytesOf(name);
        if (text.Length > maxBytes)
        {
            throw Fail(name, $"is longer than {maxBytes} bytes", $"{text.Length}");
        }

        try
        {
            return Strict.GetString(text);
        }
        catch (DecoderFallbackException e)
        {
            throw new TokenizerException("is not valid UTF-8", file, Join(name), Convert.ToHexString(text), e);
        }
    }

    internal float FloatOf(string name)
    {
        Expect(name, Fixed32);
        return BinaryPrimitives.ReadSingleLittleEndian(Take(name, 4));
    }

    internal bool BoolOf(string name) => Int64Of(name) != 0;

    // An int32 or an enum: a negative one is written with all its 64 bits.
    internal int IntOf(string name)
    {
        long value = Int64Of(name);
        return value is >= int.MinValue and <= int.MaxValue
            ? (int)value
            : throw Fail(name, "must fit in 32 bits", $"{value}");
    }

    private readonly TokenizerException Fail(string name, string problem, string? value) =>
        new(problem, file, Join(name), value);

    private readonly string Join(string name) => _path.Length == 0 ? name : name.Length == 0 ? _path : $"{_path}.{name}";

    private readonly void Expect(string name, int wireType)
    {
        if (_wireType != wireType)
        {
            throw Fail(name, $"must have the wire type {wireType}", $"{_wireType}");
        }
    }

    private long Int64Of(string name)
    {
        Expect(name, Varint);
        return (long)ReadVarint(name);
    }

    private ReadOnlySpan<byte> ReadBytes(string name)
    {
        ulong length = ReadVarint(name);
        return length <= (ulong)(_bytes.Length - _at)
            ? Take(name, (int)length)
            : throw Fail(name, $"has a length beyond the {_bytes.Length - _at} bytes that are left", $"{length}");
    }

    private ReadOnlySpan<byte> Take(string name, int count)
    {
        if (count > _bytes.Length - _at)
        {
            throw Fail(name, $"needs {count} bytes where {_bytes.Length - _at} are left", null);
        }

        _at += count;
        return _bytes.Slice(_at - count, count);
    }

    private ulong ReadVarint(string name)
    {
        ulong value = 0;
        for (int i = 0; i < MaxVarintBytes; i++)
        {
            byte next = Take(name, 1)[0];
            value |= (ulong)(next & 0x7F) << (7 * i);
            if (next < 0x80)
            {
                return value;
            }
        }

        throw Fail(name, $"has a number of more than {MaxVarintBytes} bytes", null);
    }
}
