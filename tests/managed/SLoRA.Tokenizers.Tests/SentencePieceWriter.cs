// Writes a tokenizer.model: by hand for refusals, or from a tokenizer.json of SentencePiece-like BPE.

using System.Buffers.Binary;
using System.Text;
using System.Text.Json;

namespace SLoRA.Tokenizers.Tests;

internal sealed class SentencePieceWriter
{
    internal const int Normal = 1;
    internal const int Unknown = 2;
    internal const int Control = 3;
    internal const int UserDefined = 4;
    internal const int Byte = 6;

    internal List<(string Text, float Score, int Type)> Pieces { get; } = [];

    internal int ModelType { get; set; } = 2;

    internal bool ByteFallback { get; set; }

    internal int BosId { get; set; } = 1;

    internal int EosId { get; set; } = 2;

    internal bool AddDummyPrefix { get; set; } = true;

    internal bool RemoveExtraWhitespaces { get; set; }

    internal bool EscapeWhitespaces { get; set; } = true;

    internal string NormalizerName { get; set; } = "identity";

    internal byte[] CharsMap { get; set; } = [];

    // The score of a piece is minus the rank of the first merge that makes it. `numPieces`: leave out what comes after.
    internal static SentencePieceWriter FromTokenizerJson(string file, int numPieces = int.MaxValue)
    {
        JsonElement root = Assets.ReadJson(file);
        JsonElement model = root.GetProperty("model");
        SentencePieceWriter result = new() { ByteFallback = model.GetProperty("byte_fallback").GetBoolean() };
        Dictionary<string, int> ranks = [];
        int rank = 0;
        foreach (JsonElement merge in model.GetProperty("merges").EnumerateArray())
        {
            string text = merge.ValueKind == JsonValueKind.Array
                ? string.Concat(merge.Strings())
                : merge.GetString()!.Replace(" ", "", StringComparison.Ordinal);
            ranks.TryAdd(text, rank++);
        }

        HashSet<string> added = [.. root.GetProperty("added_tokens").EnumerateArray().Select(token => token.GetProperty("content").GetString()!)];
        string unknown = model.GetProperty("unk_token").GetString()!;
        foreach ((string text, int id) in model.GetProperty("vocab").EnumerateObject().Select(item => (item.Name, item.Value.GetInt32())).OrderBy(item => item.Item2))
        {
            Assert(id == result.Pieces.Count || id >= numPieces);
            if (id < numPieces)
            {
                int type = text == unknown ? Unknown
                    : added.Contains(text) ? Control
                    : result.ByteFallback && text.Length == 6 && text.StartsWith("<0x", StringComparison.Ordinal) ? Byte
                    : Normal;
                result.Pieces.Add((text, ranks.TryGetValue(text, out int found) ? -found : -ranks.Count, type));
            }
        }

        return result;
    }

    internal byte[] ToBytes() =>
    [
        .. Pieces.SelectMany(piece => Message(1, [.. Text(1, piece.Text), .. Float(2, piece.Score), .. Number(3, piece.Type)])),
        .. Message(2, [.. Number(3, ModelType), .. Number(4, Pieces.Count), .. Number(35, ByteFallback ? 1 : 0), .. Number(41, BosId), .. Number(42, EosId)]),
        .. Message(3,
        [
            .. Text(1, NormalizerName), .. Message(2, CharsMap), .. Number(3, AddDummyPrefix ? 1 : 0),
            .. Number(4, RemoveExtraWhitespaces ? 1 : 0), .. Number(5, EscapeWhitespaces ? 1 : 0),
        ]),
    ];

    internal static byte[] Message(int field, byte[] content) =>
        [.. Varint(((ulong)field << 3) | 2), .. Varint((ulong)content.Length), .. content];

    internal static byte[] Text(int field, string text) => Message(field, Encoding.UTF8.GetBytes(text));

    internal static byte[] Number(int field, long value) => [.. Varint((ulong)field << 3), .. Varint((ulong)value)];

    internal static byte[] Float(int field, float value)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteSingleLittleEndian(bytes, value);
        return [.. Varint(((ulong)field << 3) | 5), .. bytes];
    }

    internal static byte[] Varint(ulong value)
    {
        List<byte> bytes = [];
        for (; value >= 0x80; value >>= 7)
        {
            bytes.Add((byte)(value | 0x80));
        }

        return [.. bytes, (byte)value];
    }

    private static void Assert(bool condition)
    {
        if (!condition)
        {
            throw new InvalidOperationException("the ids of the vocabulary have a hole");
        }
    }
}
