// A request's body as JSON, bounded in bytes and depth.
using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace SLoRA.Server.Reading;

internal static class BodyReader
{
    private const int MaxDepth = 64;
    private const int FirstBuffer = 16 * 1024;

    /// The body, which must be an object.
    public static async Task<JsonDocument> ReadObjectAsync(HttpRequest request, int maxBytes)
    {
        if (request.ContentLength > maxBytes)
        {
            throw ApiException.TooLarge(maxBytes);
        }

        var body = await ReadAsync(request, maxBytes).ConfigureAwait(false);
        var document = Parse(body);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
        {
            document.Dispose();
            throw ApiException.Invalid("the body must be a JSON object", null);
        }

        return document;
    }

    private static JsonDocument Parse(ReadOnlyMemory<byte> body)
    {
        try
        {
            return JsonDocument.Parse(body, new JsonDocumentOptions { MaxDepth = MaxDepth });
        }
        catch (JsonException error)
        {
            throw ApiException.Invalid($"the body is not valid JSON: {error.Message}", null);
        }
    }

    private static async Task<ReadOnlyMemory<byte>> ReadAsync(HttpRequest request, int maxBytes)
    {
        using var buffer = new MemoryStream((int)Math.Min(request.ContentLength ?? FirstBuffer, maxBytes));
        var chunk = new byte[FirstBuffer];
        int read;
        while ((read = await request.Body.ReadAsync(chunk, request.HttpContext.RequestAborted).ConfigureAwait(false)) > 0)
        {
            if (buffer.Length + read > maxBytes)
            {
                throw ApiException.TooLarge(maxBytes);
            }

            buffer.Write(chunk, 0, read);
        }

        return buffer.ToArray();
    }
}
