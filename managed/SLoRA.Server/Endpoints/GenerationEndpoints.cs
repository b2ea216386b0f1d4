// POST completions and chat/completions, whole and streamed.
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using SLoRA.Server.Reading;
using SLoRA.Server.Writing;

namespace SLoRA.Server.Endpoints;

internal sealed class GenerationEndpoints(SLoRAServerOptions options)
{
    public Task CompleteAsync(HttpContext context) => HandleAsync(context, isChat: false);

    public Task ChatAsync(HttpContext context) => HandleAsync(context, isChat: true);

    private async Task HandleAsync(HttpContext context, bool isChat)
    {
        var engine = context.RequestServices.GetRequiredService<SLoRAEngine>();
        var request = await ReadAsync(context, engine, isChat).ConfigureAwait(false);
        var time = context.RequestServices.GetRequiredService<TimeProvider>();
        var received = time.GetUtcNow();
        var runs = await PromptRuns.StartAsync(engine, request.Generations, context.RequestAborted).ConfigureAwait(false);
        await using (runs.ConfigureAwait(false))
        {
            // Only now is the request known to be valid, and its sizes to be small.
            var writer = new AnswerWriter(request, received);
            await (request.Stream ? StreamAsync(context, request, runs, writer) : AnswerAsync(context, request, runs, writer)).ConfigureAwait(false);
        }
    }

    private async Task<ApiRequest> ReadAsync(HttpContext context, SLoRAEngine engine, bool isChat)
    {
        using var document = await BodyReader.ReadObjectAsync(context.Request, options.MaxBodyBytes).ConfigureAwait(false);
        var reader = new ApiRequestReader(engine, options);
        var request = isChat ? reader.ReadChat(document.RootElement) : reader.ReadCompletion(document.RootElement);

        // A model that is not known, or cannot be read, is an error of this request before any of it runs.
        foreach (var adapter in request.Generations[0].Adapters)
        {
            await engine.Adapters.EnsureLoadedAsync(adapter.Name, context.RequestAborted).ConfigureAwait(false);
        }

        return request;
    }

    private static async Task AnswerAsync(HttpContext context, ApiRequest request, PromptRuns runs, AnswerWriter writer)
    {
        var chunks = request.Generations.Select(_ => new List<GenerationChunk>()).ToArray();
        while (await runs.NextAsync(Timeout.InfiniteTimeSpan).ConfigureAwait(false) is { } next)
        {
            chunks[next.Prompt].Add(next.Chunk!);
        }

        await JsonAnswers.WriteAsync(context, writer.Whole(chunks), ApiJson.Default.Answer).ConfigureAwait(false);
    }

    private async Task StreamAsync(HttpContext context, ApiRequest request, PromptRuns runs, AnswerWriter writer)
    {
        var events = new EventStream(context);
        await events.BeginAsync().ConfigureAwait(false);
        try
        {
            await StreamChunksAsync(request, runs, writer, events).ConfigureAwait(false);
        }
        catch (Exception error) when (!context.RequestAborted.IsCancellationRequested)
        {
            // The status is sent already: the error goes into the stream, as vLLM does it.
            await events.WriteAsync(ErrorWriter.ToBody(ErrorWriter.Translate(error)), ApiJson.Default.ErrorBody).ConfigureAwait(false);
        }

        await events.WriteDoneAsync().ConfigureAwait(false);
    }

    private async Task StreamChunksAsync(ApiRequest request, PromptRuns runs, AnswerWriter writer, EventStream events)
    {
        var usages = new List<TokenUsage>();
        for (var choice = 0; request.IsChat && choice < request.NumChoices; choice++)
        {
            await events.WriteAsync(writer.Opening(choice), ApiJson.Default.Answer).ConfigureAwait(false);
        }

        while (await runs.NextAsync(options.Heartbeat).ConfigureAwait(false) is { } next)
        {
            if (next.Chunk is not { } chunk)
            {
                await events.WriteHeartbeatAsync().ConfigureAwait(false);
                continue;
            }

            if (chunk.Usage is { } usage)
            {
                usages.Add(usage);
            }

            if (SaysSomething(request, chunk))
            {
                await events.WriteAsync(writer.Chunk(next.Prompt, chunk), ApiJson.Default.Answer).ConfigureAwait(false);
            }
        }

        if (request.IncludeUsage)
        {
            await events.WriteAsync(writer.Usage(usages), ApiJson.Default.Answer).ConfigureAwait(false);
        }
    }

    // A token whose text is held back is worth a chunk only to who asked for tokens.
    private static bool SaysSomething(ApiRequest request, GenerationChunk chunk) =>
        chunk.Text.Length > 0 || chunk.Finish is not null || request.ReturnTokenIds || request.HasLogprobs;
}
