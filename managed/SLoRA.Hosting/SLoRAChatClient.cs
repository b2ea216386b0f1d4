// The engine as Microsoft.Extensions.AI's IChatClient. Options that would change the answer and are not supported are
// refused by name, never dropped.
using System.Globalization;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.AI;
using SLoRA.Hosting;

namespace SLoRA;

/// <summary>A chat client of an engine: of the base model, or of one adapter. Safe for concurrent use; disposing it leaves
/// the engine alone.</summary>
public sealed class SLoRAChatClient : IChatClient
{
    /// <summary>Key in <c>ChatOptions.AdditionalProperties</c>: factor on the adapter's scale; a number.</summary>
    public const string AdapterScaleKey = "slora.adapter_scale";

    // Null where the engine was given; else it is awaited when it is first needed.
    private readonly EngineHost? _host;
    private readonly SLoRAEngine? _engine;
    private readonly string _baseName;
    private readonly string? _adapter;
    private readonly ChatClientMetadata _metadata;

    /// <summary>Makes a client.</summary>
    /// <param name="engine">The engine.</param>
    /// <param name="adapter">The adapter to use where <c>ChatOptions.ModelId</c> names none; null: the base model.</param>
    public SLoRAChatClient(SLoRAEngine engine, string? adapter)
    {
        ArgumentNullException.ThrowIfNull(engine);
        _engine = engine;
        _baseName = engine.Info.ModelName;
        _adapter = adapter;
        _metadata = new ChatClientMetadata("slora", null, adapter ?? _baseName);
    }

    internal SLoRAChatClient(EngineHost host, string baseName, string? adapter)
    {
        _host = host;
        _baseName = baseName;
        _adapter = adapter;
        _metadata = new ChatClientMetadata("slora", null, adapter ?? baseName);
    }

    /// <inheritdoc/>
    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    /// <inheritdoc/>
    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        var request = ToRequest(messages, options);
        var model = options?.ModelId ?? _metadata.DefaultModelId;
        var id = "chatcmpl-" + Guid.NewGuid().ToString("N");
        var engine = _engine ?? await _host!.GetAsync(cancellationToken).ConfigureAwait(false);
        await foreach (var chunk in engine.GenerateAsync(request, cancellationToken).ConfigureAwait(false))
        {
            yield return ToUpdate(chunk, id, model);
        }
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        return serviceKey is not null ? null
            : serviceType == typeof(ChatClientMetadata) ? _metadata
            : serviceType == typeof(SLoRAEngine) ? _engine ?? _host!.EngineOrNull
            : serviceType.IsInstanceOfType(this) ? this
            : null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    private static ChatResponseUpdate ToUpdate(GenerationChunk chunk, string id, string? model)
    {
        var update = new ChatResponseUpdate(ChatRole.Assistant, chunk.Text) { ResponseId = id, MessageId = id, ModelId = model, RawRepresentation = chunk };
        if (chunk.Finish is { } finish)
        {
            update.FinishReason = finish == FinishReason.Stop ? ChatFinishReason.Stop : ChatFinishReason.Length;
        }

        if (chunk.Usage is { } usage)
        {
            update.Contents.Add(new UsageContent(new UsageDetails
            {
                InputTokenCount = usage.PromptTokens,
                OutputTokenCount = usage.CompletionTokens,
                TotalTokenCount = usage.TotalTokens,
            }));
        }

        return update;
    }

    private GenerationRequest ToRequest(IEnumerable<ChatMessage> messages, ChatOptions? options)
    {
        RefuseUnsupported(options);
        var turns = messages.Select(ToMessage);
        if (!string.IsNullOrEmpty(options?.Instructions))
        {
            turns = turns.Prepend(new PromptMessage(ChatRole.System.Value, options.Instructions));
        }

        return new GenerationRequest
        {
            Prompt = Prompt.FromChat([.. turns]),
            Adapters = AdaptersOf(options),
            MaxOutputTokens = options?.MaxOutputTokens,
            StopSequences = options?.StopSequences is { } stops ? [.. stops] : [],
            Sampling = new SamplingOptions
            {
                Temperature = options?.Temperature ?? 1f,
                TopP = options?.TopP ?? 1f,
                TopK = options?.TopK ?? 0,
                FrequencyPenalty = options?.FrequencyPenalty ?? 0f,
                PresencePenalty = options?.PresencePenalty ?? 0f,
                Seed = options?.Seed is { } seed ? unchecked((ulong)seed) : null,
            },
        };
    }

    private AdapterWeight[] AdaptersOf(ChatOptions? options)
    {
        var name = options?.ModelId ?? _adapter;
        var scale = ReadScale(options);
        if (name is null || name == _baseName)
        {
            return scale is null ? [] : throw new RequestInvalidException($"{AdapterScaleKey} is {scale}, but the base model has no adapter to scale", AdapterScaleKey);
        }

        return [new AdapterWeight(name, scale ?? 1f)];
    }

    private static float? ReadScale(ChatOptions? options)
    {
        if (options?.AdditionalProperties?.TryGetValue(AdapterScaleKey, out var value) is not true || value is null)
        {
            return null;
        }

        try
        {
            return Convert.ToSingle(value is System.Text.Json.JsonElement json ? json.GetDouble() : value, CultureInfo.InvariantCulture);
        }
        catch (Exception error) when (error is FormatException or InvalidCastException or InvalidOperationException or OverflowException)
        {
            throw new RequestInvalidException($"{AdapterScaleKey} is '{value}'; it must be a number", AdapterScaleKey, error);
        }
    }

    private static PromptMessage ToMessage(ChatMessage message)
    {
        foreach (var content in message.Contents)
        {
            if (content is not TextContent)
            {
                throw new RequestInvalidException($"a message has content of type {content.GetType().Name}; only text is supported", "messages");
            }
        }

        return new PromptMessage(message.Role.Value, message.Text);
    }

    private static void RefuseUnsupported(ChatOptions? options)
    {
        if (options?.Tools is { Count: > 0 })
        {
            throw new RequestInvalidException("tools are not supported", "tools");
        }

        if (options?.ResponseFormat is not null and not ChatResponseFormatText)
        {
            throw new RequestInvalidException($"a response format of {options.ResponseFormat.GetType().Name} is not supported; only text is", "response_format");
        }
    }
}
