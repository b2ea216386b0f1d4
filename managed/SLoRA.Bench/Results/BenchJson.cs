// JSON of all results: made at compile time, so that trimming and ahead-of-time compilation change nothing.
using System.Text.Json;
using System.Text.Json.Serialization;

namespace SLoRA.Bench.Results;

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals)]
[JsonSerializable(typeof(ReplayReport))]
internal sealed partial class BenchJson : JsonSerializerContext
{
    public static void Write(ReplayReport report, string path) => File.WriteAllText(path, JsonSerializer.Serialize(report, Default.ReplayReport) + "\n");
}
