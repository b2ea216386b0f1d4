// JSON of all results: made at compile time, so that trimming and ahead-of-time compilation change nothing. What must be
// there is looked for when a file is read.
using System.Text.Json;
using System.Text.Json.Serialization;
using SLoRA.Bench.Cold;
using SLoRA.Bench.Paper;
using SLoRA.Bench.Steps;

namespace SLoRA.Bench.Results;

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals, RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(ReplayReport))]
[JsonSerializable(typeof(PaperTable))]
[JsonSerializable(typeof(StepReport))]
[JsonSerializable(typeof(ColdReport))]
internal sealed partial class BenchJson : JsonSerializerContext;
