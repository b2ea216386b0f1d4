// A JSON element that knows its file and key path, so that every refusal can name the place. Reading only; what the
// values mean is the loader's business.

using System.Text.Json;

namespace SLoRA.Tokenizers.Loading;

internal readonly struct JsonPart(JsonElement element, string file, string path)
{
    internal string Path { get; } = path;

    internal string File { get; } = file;

    internal bool IsNull => element.ValueKind is JsonValueKind.Null or JsonValueKind.Undefined;

    internal bool IsString => element.ValueKind == JsonValueKind.String;

    internal bool IsObject => element.ValueKind == JsonValueKind.Object;

    internal bool IsArray => element.ValueKind == JsonValueKind.Array;

    internal bool IsNumber => element.ValueKind == JsonValueKind.Number;

    internal JsonElement Element => element;

    // A missing key and an explicit null are the same thing in these files.
    internal JsonPart this[string key]
    {
        get
        {
            Expect(JsonValueKind.Object, "an object");
            try
            {
                return new JsonPart(element.TryGetProperty(key, out JsonElement child) ? child : default, File, Join(key));
            }
            catch (InvalidOperationException e)
            {
                throw BadKey(File, Path, e);
            }
        }
    }

    internal JsonPart Require(string key)
    {
        JsonPart part = this[key];
        return part.IsNull ? throw part.Fail("is missing") : part;
    }

    internal string AsString()
    {
        Expect(JsonValueKind.String, "a string");
        try
        {
            return element.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            throw new TokenizerException("holds an unpaired surrogate", File, Path, element.GetRawText(), e);
        }
    }

    internal int AsId()
    {
        if (!IsNumber || !element.TryGetInt32(out int value) || value < 0 || value > TokenizerLimits.MaxTokenId)
        {
            throw Fail($"must be a token id in 0 … {TokenizerLimits.MaxTokenId}");
        }

        return value;
    }

    internal int AsCount()
    {
        if (!IsNumber || !element.TryGetInt32(out int value) || value < 0)
        {
            throw Fail("must be a whole number that is not negative");
        }

        return value;
    }

    internal bool AsBool(bool fallback) => element.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Null or JsonValueKind.Undefined => fallback,
        _ => throw Fail("must be true or false"),
    };

    internal IEnumerable<JsonPart> Items()
    {
        Expect(JsonValueKind.Array, "an array");
        return ItemsOf(element, File, Path);
    }

    internal IEnumerable<(string Key, JsonPart Value)> Properties()
    {
        Expect(JsonValueKind.Object, "an object");
        return PropertiesOf(element, File, Path);
    }

    internal TokenizerException Fail(string problem) =>
        new(problem, File, Path, element.ValueKind == JsonValueKind.Undefined ? null : element.GetRawText());

    private static IEnumerable<JsonPart> ItemsOf(JsonElement array, string file, string path)
    {
        int index = 0;
        foreach (JsonElement item in array.EnumerateArray())
        {
            yield return new JsonPart(item, file, $"{path}[{index++}]");
        }
    }

    private static IEnumerable<(string Key, JsonPart Value)> PropertiesOf(JsonElement item, string file, string path)
    {
        foreach (JsonProperty property in item.EnumerateObject())
        {
            string key;
            try
            {
                key = property.Name;
            }
            catch (InvalidOperationException e)
            {
                throw BadKey(file, path, e);
            }

            yield return (key, new JsonPart(property.Value, file, path.Length == 0 ? key : $"{path}.{key}"));
        }
    }

    private static TokenizerException BadKey(string file, string path, Exception cause) =>
        new("holds a key with an unpaired surrogate", file, path, null, cause);

    private void Expect(JsonValueKind kind, string name)
    {
        if (element.ValueKind != kind)
        {
            throw Fail($"must be {name}");
        }
    }

    private string Join(string key) => Path.Length == 0 ? key : $"{Path}.{key}";
}
