// Server-sent events: data lines, comments that keep the connection open, and the end mark of the API.
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;

namespace SLoRA.Server.Writing;

internal sealed class EventStream(HttpContext context)
{
    private static readonly byte[] s_data = "data: "u8.ToArray();
    private static readonly byte[] s_end = "\n\n"u8.ToArray();
    private static readonly byte[] s_done = "data: [DONE]\n\n"u8.ToArray();
    private static readonly byte[] s_heartbeat = ": waiting\n\n"u8.ToArray();

    public async Task BeginAsync()
    {
        context.Response.ContentType = "text/event-stream; charset=utf-8";
        context.Response.Headers.CacheControl = "no-cache";
        context.Response.Headers["X-Accel-Buffering"] = "no";
        await context.Response.StartAsync(context.RequestAborted).ConfigureAwait(false);
    }

    public async Task WriteAsync<T>(T value, JsonTypeInfo<T> type)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(value, type);
        await context.Response.Body.WriteAsync((byte[])[.. s_data, .. json, .. s_end], context.RequestAborted).ConfigureAwait(false);
        await context.Response.Body.FlushAsync(context.RequestAborted).ConfigureAwait(false);
    }

    public Task WriteHeartbeatAsync() => WriteRawAsync(s_heartbeat);

    public Task WriteDoneAsync() => WriteRawAsync(s_done);

    private async Task WriteRawAsync(byte[] bytes)
    {
        await context.Response.Body.WriteAsync(bytes, context.RequestAborted).ConfigureAwait(false);
        await context.Response.Body.FlushAsync(context.RequestAborted).ConfigureAwait(false);
    }
}
