// Reads the fields of a request object one by one and remembers which it was asked for; what is left must be harmless.
// null is everywhere the same as absent, as in OpenAI's own API.
using System.Text.Json;

namespace SLoRA.Server.Reading;

internal sealed class FieldReader
{
    private readonly Dictionary<string, JsonElement> _fields = new(StringComparer.Ordinal);

    public FieldReader(JsonElement root)
    {
        foreach (var field in root.EnumerateObject())
        {
            _fields[Name(field)] = field.Value;
        }
    }

    public JsonElement? Take(string name) =>
        _fields.Remove(name, out var value) && value.ValueKind is not (JsonValueKind.Null or JsonValueKind.Undefined) ? value : null;

    public string? TakeText(string name) => Take(name) is { } value ? Text(value, name) : null;

    public bool TakeFlag(string name) => Take(name) is { } value && Flag(value, name);

    public int? TakeInt(string name) => Take(name) is { } value ? Int(value, name) : null;

    public float TakeFloat(string name, float absent) => Take(name) is { } value ? Float(value, name) : absent;

    public ulong? TakeSeed(string name)
    {
        if (Take(name) is not { } value)
        {
            return null;
        }

        if (value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var seed))
        {
            return unchecked((ulong)seed);
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetUInt64(out var large) ? large : throw Wrong(value, name, "a whole number of 64 bits");
    }

    /// A string, or an array of strings.
    public IReadOnlyList<string> TakeTexts(string name) => Take(name) switch
    {
        null => [],
        { ValueKind: JsonValueKind.String } one => [Text(one, name)],
        { ValueKind: JsonValueKind.Array } many => [.. many.EnumerateArray().Select(item => Text(item, name))],
        { } other => throw Wrong(other, name, "a string or an array of strings"),
    };

    public IReadOnlyList<int> TakeInts(string name) => Take(name) is { } value ? Ints(value, name) : [];

    public IReadOnlyDictionary<int, float>? TakeBias(string name)
    {
        if (Take(name) is not { } value)
        {
            return null;
        }

        if (value.ValueKind != JsonValueKind.Object)
        {
            throw Wrong(value, name, "an object of token ids and numbers");
        }

        var bias = new Dictionary<int, float>();
        foreach (var entry in value.EnumerateObject())
        {
            var key = Name(entry);
            bias[int.TryParse(key, out var tokenId) ? tokenId : throw ApiException.Invalid($"{name} has the key '{ApiException.Shorten(key)}'; keys must be token ids", name)] = Float(entry.Value, name);
        }

        return bias;
    }

    /// Refuses what was not taken, unless it changes nothing.
    public void RefuseRest()
    {
        foreach (var (name, value) in _fields)
        {
            if (value.ValueKind != JsonValueKind.Null && !HarmlessFields.IsHarmless(name, value))
            {
                throw ApiException.Invalid($"'{ApiException.Shorten(name)}' is not supported{HarmlessFields.Hint(name)}", ApiException.Shorten(name));
            }
        }
    }

    public static string Text(JsonElement value, string name)
    {
        try
        {
            return value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Wrong(value, name, "a string");
        }
        catch (InvalidOperationException)
        {
            throw ApiException.Invalid($"{name} has text that is not valid Unicode", name);
        }
    }

    public static int Int(JsonElement value, string name) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) ? number : throw Wrong(value, name, "a whole number of 32 bits");

    public static IReadOnlyList<int> Ints(JsonElement value, string name)
    {
        if (value.ValueKind != JsonValueKind.Array)
        {
            throw Wrong(value, name, "an array of whole numbers");
        }

        var numbers = new int[value.GetArrayLength()];
        var i = 0;
        foreach (var item in value.EnumerateArray())
        {
            numbers[i++] = Int(item, name);
        }

        return numbers;
    }

    public static ApiException Wrong(JsonElement value, string name, string expected)
    {
        var raw = value.ValueKind is JsonValueKind.Object or JsonValueKind.Array ? $"an {value.ValueKind.ToString().ToLowerInvariant()}" : ApiException.Shorten(value.GetRawText());
        return ApiException.Invalid($"{name} is {raw}; it must be {expected}", name);
    }

    private static bool Flag(JsonElement value, string name) => value.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Wrong(value, name, "true or false"),
    };

    private static float Float(JsonElement value, string name) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetSingle(out var number) && float.IsFinite(number) ? number : throw Wrong(value, name, "a finite number");

    private static string Name(JsonProperty field)
    {
        try
        {
            return field.Name;
        }
        catch (InvalidOperationException)
        {
            throw ApiException.Invalid("a field's name is not valid Unicode", null);
        }
    }
}
