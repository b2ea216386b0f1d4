// What can be said of an adapter folder without reading its weights: its configuration's rank, and whether its files are
// there, whole and as they were at the last look.
using System.Buffers.Binary;
using System.Text.Json;

namespace SLoRA.Engine.Catalog;

/// When the two files were written and how long they are: equal stamps, equal files.
internal readonly record struct FolderStamp(long ConfigTicks, long ConfigBytes, long WeightsTicks, long WeightsBytes);

internal static class AdapterFolder
{
    public const string ConfigName = "adapter_config.json";
    private const string WeightsName = "adapter_model.safetensors";

    // A configuration is a few KiB; a file that is a thousand times that is something else.
    private const long MaxConfigBytes = 16 << 20;
    private const long MaxHeaderBytes = 100_000_000;

    public static bool IsOne(string folder) => File.Exists(Path.Combine(folder, ConfigName));

    /// Whether the adapter `name` at `path` is a folder of `directory` under that folder's own name.
    public static bool IsOf(string directory, string name, string path) => Path.GetDirectoryName(path) == directory && Path.GetFileName(path) == name;

    public static FolderStamp StampOf(string folder)
    {
        var config = new FileInfo(Path.Combine(folder, ConfigName));
        var weights = new FileInfo(Path.Combine(folder, WeightsName));
        return new FolderStamp(TicksOf(config), BytesOf(config), TicksOf(weights), BytesOf(weights));
    }

    /// The rank that the configuration names.
    public static int ReadRank(string folder)
    {
        var path = Path.Combine(folder, ConfigName);
        try
        {
            var file = new FileInfo(path);
            if (file.Length > MaxConfigBytes)
            {
                throw new AdapterIncompatibleException($"{path} has {file.Length} bytes; the limit is {MaxConfigBytes}");
            }

            using var document = JsonDocument.Parse(File.ReadAllBytes(path));
            var root = document.RootElement;
            return root.ValueKind != JsonValueKind.Object ? throw new AdapterIncompatibleException($"{path} is not a JSON object")
                : root.TryGetProperty("r", out var rank) && rank.ValueKind == JsonValueKind.Number && rank.TryGetInt32(out var value) ? value : 0;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new AdapterIncompatibleException($"{path} cannot be read: {error.Message}", error);
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            // The latter: an escape that is half a character.
            throw new AdapterIncompatibleException($"{path} is not JSON: {error.Message}", error);
        }
    }

    /// Whether the weights are as long as their own header says: a copy under way is not.
    public static bool IsWhole(string folder)
    {
        try
        {
            using var file = File.OpenRead(Path.Combine(folder, WeightsName));
            Span<byte> length = stackalloc byte[sizeof(ulong)];
            if (file.ReadAtLeast(length, length.Length, throwOnEndOfStream: false) < length.Length)
            {
                return false;
            }

            var headerBytes = BinaryPrimitives.ReadUInt64LittleEndian(length);
            if (headerBytes > MaxHeaderBytes || (long)headerBytes > file.Length - sizeof(ulong))
            {
                return false;
            }

            var header = new byte[headerBytes];
            file.ReadExactly(header);
            return sizeof(ulong) + (long)headerBytes + DataBytes(header) == file.Length;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException or InvalidOperationException or FormatException)
        {
            return false;
        }
    }

    private static long DataBytes(byte[] header)
    {
        using var document = JsonDocument.Parse(header);
        long end = 0;
        foreach (var tensor in document.RootElement.EnumerateObject())
        {
            if (tensor.Value.TryGetProperty("data_offsets", out var offsets))
            {
                end = Math.Max(end, offsets.GetArrayLength() == 2 ? offsets[1].GetInt64() : throw new FormatException("data_offsets are a begin and an end"));
            }
        }

        return end;
    }

    private static long TicksOf(FileInfo file) => file.Exists ? file.LastWriteTimeUtc.Ticks : 0;

    private static long BytesOf(FileInfo file) => file.Exists ? file.Length : 0;
}
