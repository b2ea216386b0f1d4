// Reads the server-sent events of one completion and tells the request how many tokens each brought.
using System.Buffers;
using System.Text.Json;

namespace SLoRA.Bench.Replay;

internal sealed class EventReader(Stream stream)
{
    private const int FirstBuffer = 4096;

    public async Task ReadAsync(ReplayRequest request, CancellationToken ct)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(FirstBuffer);
        try
        {
            var filled = 0;
            int read;
            while ((read = await stream.ReadAsync(buffer.AsMemory(filled), ct).ConfigureAwait(false)) > 0)
            {
                filled += read;
                var used = TakeLines(buffer.AsSpan(0, filled), request);
                buffer.AsSpan(used, filled - used).CopyTo(buffer);
                filled -= used;
                if (filled == buffer.Length)
                {
                    buffer = Grow(buffer);
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        if (request.NumTokens < request.Trace.OutputTokens)
        {
            throw new SLoRAException($"the stream ended after {request.NumTokens} of {request.Trace.OutputTokens} tokens");
        }
    }

    private static byte[] Grow(byte[] buffer)
    {
        var larger = ArrayPool<byte>.Shared.Rent(buffer.Length * 2);
        buffer.CopyTo(larger, 0);
        ArrayPool<byte>.Shared.Return(buffer);
        return larger;
    }

    // What a read brought is told at once: its tokens came together.
    private static int TakeLines(ReadOnlySpan<byte> bytes, ReplayRequest request)
    {
        var used = 0;
        var tokens = 0;
        int? total = null;
        int end;
        while ((end = bytes[used..].IndexOf((byte)'\n')) >= 0)
        {
            var line = bytes.Slice(used, end).TrimEnd((byte)'\r');
            used += end + 1;
            if (line.StartsWith("data:"u8) && line[5..].TrimStart((byte)' ') is var data && !data.SequenceEqual("[DONE]"u8))
            {
                var piece = CompletionPiece.Parse(data);
                tokens += piece.NumTokens;
                total = piece.CompletionTokens ?? total;
            }
        }

        request.OnTokens(tokens, isLast: false, null);
        if (total is { } known)
        {
            request.CorrectTokens(known);
        }

        return used;
    }
}

/// What one chunk of a streamed completion says of tokens.
internal readonly record struct CompletionPiece(int NumTokens, int? CompletionTokens)
{
    public static CompletionPiece Parse(ReadOnlySpan<byte> json)
    {
        var reader = new Utf8JsonReader(json);
        var ids = -1;
        var hasText = false;
        int? total = null;
        while (reader.Read())
        {
            if (reader.TokenType != JsonTokenType.PropertyName)
            {
                continue;
            }

            if (reader.ValueTextEquals("token_ids"u8))
            {
                ids = CountItems(ref reader);
            }
            else if (reader.ValueTextEquals("text"u8))
            {
                hasText = reader.Read() && reader.TokenType == JsonTokenType.String && reader.ValueSpan.Length > 0;
            }
            else if (reader.ValueTextEquals("completion_tokens"u8))
            {
                total = reader.Read() ? WholeOf(ref reader) ?? total : total;
            }
            else if (reader.ValueTextEquals("error"u8) && reader.Read() && reader.TokenType != JsonTokenType.Null)
            {
                throw new SLoRAException($"the server sent an error: {System.Text.Encoding.UTF8.GetString(json[..Math.Min(json.Length, 200)])}");
            }
        }

        return new CompletionPiece(ids >= 0 ? ids : hasText ? 1 : 0, total);
    }

    // Some servers write 12.0.
    private static int? WholeOf(ref Utf8JsonReader reader) =>
        reader.TokenType != JsonTokenType.Number ? null
        : reader.TryGetInt32(out var whole) ? whole
        : reader.TryGetDouble(out var number) && number is >= 0 and <= int.MaxValue ? (int)number
        : null;

    private static int CountItems(ref Utf8JsonReader reader)
    {
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartArray)
        {
            return -1;
        }

        var count = 0;
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            count++;
        }

        return count;
    }
}
