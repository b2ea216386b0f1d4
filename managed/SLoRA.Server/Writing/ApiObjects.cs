// The shapes of answers, in the API's own words: property names come out in snake case, absent parts as nothing unless
// the API writes them as null.
using System.Text.Json.Serialization;

namespace SLoRA.Server.Writing;

internal sealed record ErrorBody(ErrorObject Error);

internal sealed record ErrorObject(
    string Message,
    string Type,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Param,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Code);

internal sealed record ModelList(string Object, IReadOnlyList<ModelObject> Data);

internal sealed record ModelObject(
    string Id,
    string Object,
    long Created,
    string OwnedBy,
    string Root,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Parent,
    int MaxModelLen);

internal sealed record UsageObject(int PromptTokens, int CompletionTokens, int TotalTokens);

internal sealed record Answer
{
    public required string Id { get; init; }

    public required string Object { get; init; }

    public required long Created { get; init; }

    public required string Model { get; init; }

    public required IReadOnlyList<AnswerChoice> Choices { get; init; }

    public UsageObject? Usage { get; init; }

    // vLLM: of chat.
    public IReadOnlyList<int>? PromptTokenIds { get; init; }
}

internal sealed record AnswerChoice
{
    public required int Index { get; init; }

    // Completions.
    public string? Text { get; init; }

    // Chat, whole and streamed.
    public ChatTurn? Message { get; init; }

    public ChatTurn? Delta { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public LogprobsObject? Logprobs { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public string? FinishReason { get; init; }

    // vLLM: of completions.
    public IReadOnlyList<int>? PromptTokenIds { get; init; }

    public IReadOnlyList<int>? TokenIds { get; init; }
}

internal sealed record ChatTurn(string? Role, string? Content);

// Both of OpenAI's shapes: Content is chat's, the four lists are completions'.
internal sealed record LogprobsObject
{
    public IReadOnlyList<ChatLogprob>? Content { get; init; }

    public IReadOnlyList<string>? Tokens { get; init; }

    public IReadOnlyList<float>? TokenLogprobs { get; init; }

    public IReadOnlyList<IReadOnlyDictionary<string, float>>? TopLogprobs { get; init; }

    public IReadOnlyList<int>? TextOffset { get; init; }
}

internal sealed record ChatLogprob(string Token, float Logprob, IReadOnlyList<int> Bytes, IReadOnlyList<ChatCandidate> TopLogprobs);

internal sealed record ChatCandidate(string Token, float Logprob, IReadOnlyList<int> Bytes);

internal sealed record HealthObject(string Status, string State, string? Model, string? Backend, string? Dtype, int Adapters, int Running, int Queued, PagesObject? Pages);

internal sealed record PagesObject(int Total, int Free, int Kv, int Adapter);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ErrorBody))]
[JsonSerializable(typeof(ModelList))]
[JsonSerializable(typeof(ModelObject))]
[JsonSerializable(typeof(Answer))]
[JsonSerializable(typeof(HealthObject))]
internal sealed partial class ApiJson : JsonSerializerContext;
