// Fields of the OpenAI and vLLM APIs that are not implemented: which may be ignored because they cannot change the
// output, and with which values the others say nothing. Everything else is refused by name: a client that asked for it
// would be given something else.
using System.Text.Json;

namespace SLoRA.Server.Reading;

internal static class HarmlessFields
{
    private static readonly HashSet<string> s_ignored = new(StringComparer.Ordinal)
    {
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "request_id", "priority",
        "parallel_tool_calls",
    };

    private static readonly Dictionary<string, Func<JsonElement, bool>> s_neutral = new(StringComparer.Ordinal)
    {
        ["tools"] = IsEmpty,
        ["functions"] = IsEmpty,
        ["tool_choice"] = value => IsText(value, "none") || IsText(value, "auto"),
        ["function_call"] = value => IsText(value, "none"),
        ["response_format"] = value => value.ValueKind == JsonValueKind.Object && value.TryGetProperty("type", out var type) && IsText(type, "text"),
        ["modalities"] = value => value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == 1 && IsText(value[0], "text"),
        ["echo"] = IsFalse,
        ["suffix"] = value => IsText(value, string.Empty),
        ["use_beam_search"] = IsFalse,
        ["include_stop_str_in_output"] = IsFalse,
        ["min_tokens"] = value => IsNumber(value, 0),
        ["length_penalty"] = value => IsNumber(value, 1),
        ["add_generation_prompt"] = value => value.ValueKind == JsonValueKind.True,
        ["continue_final_message"] = IsFalse,
    };

    public static bool IsHarmless(string name, JsonElement value) =>
        s_ignored.Contains(name) || (s_neutral.TryGetValue(name, out var isNeutral) && isNeutral(value));

    public static string Hint(string name) => name switch
    {
        "echo" => "; the prompt cannot be sent back",
        "response_format" => "; only {\"type\":\"text\"} is",
        "best_of" => "; it must equal n",
        _ => string.Empty,
    };

    private static bool IsEmpty(JsonElement value) => value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == 0;

    private static bool IsFalse(JsonElement value) => value.ValueKind == JsonValueKind.False;

    private static bool IsText(JsonElement value, string text) => value.ValueKind == JsonValueKind.String && value.ValueEquals(text);

    private static bool IsNumber(JsonElement value, double number) => value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var actual) && actual == number;
}
