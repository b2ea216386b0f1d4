// JSON of the demo's own HTTP calls, without reflection.
using System.Text.Json;
using System.Text.Json.Serialization;

namespace SLoRA.Cli.Commands;

[JsonSerializable(typeof(JsonElement))]
[JsonSerializable(typeof(string))]
internal sealed partial class DemoJson : JsonSerializerContext;
