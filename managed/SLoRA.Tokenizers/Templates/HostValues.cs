// Values of the host program to values of templates.

using System.Collections;
using System.Text.Json;

namespace SLoRA.Tokenizers.Templates;

internal static class HostValues
{
    private const int MaxDepth = 64;

    internal static object? Convert(object? value, int depth = 0)
    {
        if (depth > MaxDepth)
        {
            throw new TemplateException($"a variable is nested deeper than {MaxDepth} levels");
        }

        return value switch
        {
            null or bool or long or string => value,
            int or short or byte or uint or ushort or sbyte => System.Convert.ToInt64(value, null),
            double => value,
            float or decimal => System.Convert.ToDouble(value, null),
            JsonElement json => FromJson(json, depth),
            TemplateMessage message => Message(message, depth),
            IReadOnlyDictionary<string, object?> map => Map(map, depth),
            IDictionary<string, object?> map => Map(map, depth),
            IEnumerable list => list.Cast<object?>().Select(item => Convert(item, depth + 1)).ToList(),
            _ => throw new TemplateException($"a variable has the type {value.GetType().Name}, which templates do not know"),
        };
    }

    internal static TemplateMap Message(TemplateMessage message, int depth = 0)
    {
        TemplateMap map = new() { ["role"] = message.Role, ["content"] = message.Content };
        foreach ((string key, object? value) in message.ExtraFields)
        {
            map[key] = Convert(value, depth + 1);
        }

        return map;
    }

    private static TemplateMap Map(IEnumerable<KeyValuePair<string, object?>> source, int depth)
    {
        TemplateMap map = [];
        foreach ((string key, object? value) in source)
        {
            map[key] = Convert(value, depth + 1);
        }

        return map;
    }

    private static object? FromJson(JsonElement json, int depth)
    {
        switch (json.ValueKind)
        {
            case JsonValueKind.Null or JsonValueKind.Undefined:
                return null;
            case JsonValueKind.True or JsonValueKind.False:
                return json.GetBoolean();
            case JsonValueKind.String:
                return json.GetString();
            case JsonValueKind.Number:
                // 1.0 stays a float: tojson must print it as such.
                return json.TryGetInt64(out long integer) && !json.GetRawText().AsSpan().ContainsAny('.', 'e', 'E')
                    ? (object)integer
                    : json.GetDouble();
            case JsonValueKind.Array:
                return json.EnumerateArray().Select(item => Convert(item, depth + 1)).ToList();
            default:
                return Map(json.EnumerateObject().Select(item => KeyValuePair.Create(item.Name, (object?)item.Value)), depth);
        }
    }
}
