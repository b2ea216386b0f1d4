// Opens a JSON file of a model folder within bounds and turns every failure into a TokenizerException.

using System.Text.Json;

namespace SLoRA.Tokenizers.Loading;

internal static class JsonFile
{
    private static readonly JsonDocumentOptions Options = new() { MaxDepth = TokenizerLimits.MaxJsonDepth };

    // Null where the file does not exist. The caller disposes the document.
    internal static JsonDocument? TryOpen(string file)
    {
        try
        {
            FileInfo info = new(file);
            if (!info.Exists)
            {
                return null;
            }

            if (info.Length > TokenizerLimits.MaxFileBytes)
            {
                throw new TokenizerException(
                    $"is larger than {TokenizerLimits.MaxFileBytes} bytes", file, null, $"{info.Length}");
            }

            return JsonDocument.Parse(WithoutByteOrderMark(File.ReadAllBytes(file)), Options);
        }
        catch (JsonException e)
        {
            throw new TokenizerException($"is not valid JSON: {FirstLine(e.Message)}", file, e.Path, null, e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TokenizerException($"cannot be read: {FirstLine(e.Message)}", file, null, null, e);
        }
    }

    internal static JsonDocument Open(string file) =>
        TryOpen(file) ?? throw new TokenizerException("is missing", file, null, null);

    private static ReadOnlyMemory<byte> WithoutByteOrderMark(byte[] bytes) =>
        bytes.AsSpan().StartsWith("\uFEFF"u8) ? bytes.AsMemory(3) : bytes;

    private static string FirstLine(string message)
    {
        int end = message.AsSpan().IndexOfAny('\r', '\n');
        return end < 0 ? message : message[..end];
    }
}
