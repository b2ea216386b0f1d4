// Any OpenAI-compatible server as a target: POST {base}/completions, prompt as token ids, streamed, the adapter as the
// model. ignore_eos and return_token_ids are vLLM's extensions, which SLoRA has too; a server that does not know them must
// at least not refuse them. Tokens are counted by token_ids where they come, else a chunk with text is one token, and the
// server's own usage at the end has the last word.
using System.Buffers;
using System.Net.Http.Headers;
using System.Text.Json;

namespace SLoRA.Bench.Replay;

internal sealed class HttpTarget : IReplayTarget, IDisposable
{
    private readonly HttpClient _client;
    private readonly CancellationTokenSource _stop = new();
    private readonly Uri _completions;

    /// `baseUrl` ends in /v1 or is the server's root.
    public HttpTarget(Uri baseUrl, string baseModel, string? apiKey = null)
    {
        BaseModel = baseModel;
        _completions = Below(baseUrl, "completions");
        _client = MakeClient(apiKey);
    }

    public string BaseModel { get; }

    /// The name of the first model that the server lists: the base model. Throws SLoRAException if it does not answer.
    public static async Task<string> FindBaseModelAsync(Uri baseUrl, string? apiKey, CancellationToken ct)
    {
        using var client = MakeClient(apiKey);
        try
        {
            using var document = JsonDocument.Parse(await client.GetByteArrayAsync(Below(baseUrl, "models"), ct).ConfigureAwait(false));
            return document.RootElement.GetProperty("data")[0].GetProperty("id").GetString()!;
        }
        catch (Exception error) when (error is HttpRequestException or JsonException or KeyNotFoundException or IndexOutOfRangeException or InvalidOperationException)
        {
            throw new SLoRAException($"{Below(baseUrl, "models")} does not list models: {error.Message}", error);
        }
    }

    public void Send(ReplayRequest request) => _ = Task.Run(() => SendAsync(request));

    public void Stop() => _stop.Cancel();

    public void Dispose()
    {
        _client.Dispose();
        _stop.Dispose();
    }

    private static Uri Below(Uri baseUrl, string path)
    {
        var root = baseUrl.AbsoluteUri.TrimEnd('/');
        return new Uri(root.EndsWith("/v1", StringComparison.Ordinal) ? $"{root}/{path}" : $"{root}/v1/{path}");
    }

    private static HttpClient MakeClient(string? apiKey)
    {
#pragma warning disable CA2000 // the client disposes its handler
        var handler = new SocketsHttpHandler { MaxConnectionsPerServer = int.MaxValue, PooledConnectionIdleTimeout = TimeSpan.FromMinutes(5) };
#pragma warning restore CA2000
        var client = new HttpClient(handler, disposeHandler: true) { Timeout = Timeout.InfiniteTimeSpan };
        if (apiKey is not null)
        {
            client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", apiKey);
        }

        return client;
    }

    private async Task SendAsync(ReplayRequest request)
    {
        Exception? error = null;
        try
        {
            await StreamAsync(request, _stop.Token).ConfigureAwait(false);
        }
#pragma warning disable CA1031 // a replay waits for every request to end, whatever ends it
        catch (Exception failure)
#pragma warning restore CA1031
        {
            error = failure;
        }

        request.OnTokens(0, isLast: true, error);
    }

    private async Task StreamAsync(ReplayRequest request, CancellationToken ct)
    {
        using var message = new HttpRequestMessage(HttpMethod.Post, _completions) { Content = new ByteArrayContent(Body(request)) };
        message.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        using var response = await _client.SendAsync(message, HttpCompletionOption.ResponseHeadersRead, ct).ConfigureAwait(false);
        if (!response.IsSuccessStatusCode)
        {
            var text = await response.Content.ReadAsStringAsync(ct).ConfigureAwait(false);
            throw new SLoRAException($"the server answered {(int)response.StatusCode}: {text.ReplaceLineEndings(" ")[..Math.Min(200, text.ReplaceLineEndings(" ").Length)]}");
        }

        var stream = await response.Content.ReadAsStreamAsync(ct).ConfigureAwait(false);
        await using (stream.ConfigureAwait(false))
        {
            await new EventReader(stream).ReadAsync(request, ct).ConfigureAwait(false);
        }
    }

    private byte[] Body(ReplayRequest request)
    {
        var buffer = new ArrayBufferWriter<byte>(8 * request.Prompt.Length + 256);
        using var writer = new Utf8JsonWriter(buffer);
        writer.WriteStartObject();
        writer.WriteString("model", request.Adapter ?? BaseModel);
        writer.WriteStartArray("prompt");
        foreach (var token in request.Prompt)
        {
            writer.WriteNumberValue(token);
        }

        writer.WriteEndArray();
        writer.WriteNumber("max_tokens", request.Trace.OutputTokens);
        writer.WriteNumber("temperature", 0);
        writer.WriteBoolean("ignore_eos", true);
        writer.WriteBoolean("stream", true);
        writer.WriteBoolean("return_token_ids", true);
        writer.WriteStartObject("stream_options");
        writer.WriteBoolean("include_usage", true);
        writer.WriteEndObject();
        writer.WriteEndObject();
        writer.Flush();
        return buffer.WrittenSpan.ToArray();
    }
}
