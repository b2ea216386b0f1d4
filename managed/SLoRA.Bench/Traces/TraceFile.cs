// Traces as JSON Lines: {"t": seconds, "adapter": index, "prompt_tokens": n, "output_tokens": n}, one request a line,
// sorted by t. Other fields are ignored. Written as Python's json.dumps writes them, so that files can be compared.
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace SLoRA.Bench.Traces;

internal static class TraceFile
{
    private const int MaxAdapter = 10_000_000;
    private const int MaxTokens = 1 << 20;

    /// Reads a file; throws TraceException with the number of the line, the value and the limit.
    public static Trace Read(string path)
    {
        var requests = new List<TraceRequest>();
        var number = 0;
        foreach (var line in ReadLines(path))
        {
            number++;
            if (string.IsNullOrWhiteSpace(line))
            {
                continue;
            }

            var request = ReadLine(line, $"{path}:{number}");
            if (requests.Count > 0 && request.Seconds < requests[^1].Seconds)
            {
                throw new TraceException(string.Create(CultureInfo.InvariantCulture, $"{path}:{number}: t is {request.Seconds}; lines must be sorted and the one before has {requests[^1].Seconds}"));
            }

            requests.Add(request);
        }

        return requests.Count > 0 ? new Trace(Path.GetFileNameWithoutExtension(path), requests) : throw new TraceException($"{path}: there is no request in it");
    }

    public static void Write(Trace trace, string path)
    {
        using var writer = new StreamWriter(path, append: false, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false)) { NewLine = "\n" };
        foreach (var request in trace.Requests)
        {
            writer.WriteLine(Format(request));
        }
    }

    public static string Format(in TraceRequest request) => string.Create(
        CultureInfo.InvariantCulture,
        $"{{\"t\": {Python(request.Seconds)}, \"adapter\": {request.Adapter}, \"prompt_tokens\": {request.PromptTokens}, \"output_tokens\": {request.OutputTokens}}}");

    // Python shows a whole float with ".0".
    private static string Python(double value)
    {
        var text = value.ToString("R", CultureInfo.InvariantCulture);
        return text.Contains('.', StringComparison.Ordinal) || text.Contains('E', StringComparison.Ordinal) ? text : text + ".0";
    }

    private static IEnumerable<string> ReadLines(string path)
    {
        if (!File.Exists(path))
        {
            throw new TraceException($"'{path}' is neither a file nor the name of a trace; the names are {string.Join(", ", NamedTraces.Names)}");
        }

        return File.ReadLines(path);
    }

    private static TraceRequest ReadLine(string line, string place)
    {
        try
        {
            using var document = JsonDocument.Parse(line);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
            {
                throw new TraceException($"{place}: an object is needed, this is {Shorten(line)}");
            }

            return new TraceRequest(
                ReadSeconds(document.RootElement, place),
                ReadWhole(document.RootElement, "adapter", -1, MaxAdapter, place),
                ReadWhole(document.RootElement, "prompt_tokens", 1, MaxTokens, place),
                ReadWhole(document.RootElement, "output_tokens", 1, MaxTokens, place));
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            // The latter: an escape that is half a character.
            throw new TraceException($"{place}: not JSON: {Shorten(line)}");
        }
    }

    private static double ReadSeconds(JsonElement line, string place)
    {
        var field = Field(line, "t", place);
        return field.ValueKind == JsonValueKind.Number && field.TryGetDouble(out var seconds) && seconds is >= 0 and < 1e9
            ? seconds
            : throw new TraceException($"{place}: t is {Shorten(field.GetRawText())}; it must be seconds in [0, 1e9)");
    }

    private static int ReadWhole(JsonElement line, string name, int smallest, int largest, string place)
    {
        var field = Field(line, name, place);
        return field.ValueKind == JsonValueKind.Number && field.TryGetInt32(out var value) && value >= smallest && value <= largest
            ? value
            : throw new TraceException($"{place}: {name} is {Shorten(field.GetRawText())}; it must be a whole number in [{smallest}, {largest}]");
    }

    private static JsonElement Field(JsonElement line, string name, string place) =>
        line.TryGetProperty(name, out var field) ? field : throw new TraceException($"{place}: {name} is missing");

    private static string Shorten(string text) => text.Length <= 60 ? text : string.Concat(text.AsSpan(0, 60), "…");
}
