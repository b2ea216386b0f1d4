// The JSON of every report against the schemas that are committed in bench/schema. SLORA_WRITE_SCHEMAS=1 writes them anew:
// a change of theirs is a change of what others read, to be looked at.
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using System.Text.Json.Serialization.Metadata;
using SLoRA.Bench.Cold;
using SLoRA.Bench.Paper;
using SLoRA.Bench.Results;
using SLoRA.Bench.Steps;

namespace SLoRA.Bench.Tests;

public class SchemaTests
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    [Theory]
    [InlineData("replay", ReplayReport.CurrentSchema)]
    [InlineData("paper", PaperTable.CurrentSchema)]
    [InlineData("step", StepReport.CurrentSchema)]
    [InlineData("cold", ColdReport.CurrentSchema)]
    public void A_report_has_its_committed_schema(string name, string version)
    {
        JsonTypeInfo type = name switch
        {
            "replay" => BenchJson.Default.ReplayReport,
            "paper" => BenchJson.Default.PaperTable,
            "step" => BenchJson.Default.StepReport,
            _ => BenchJson.Default.ColdReport,
        };
        var schema = type.GetJsonSchemaAsNode(new JsonSchemaExporterOptions { TreatNullObliviousAsNonNullable = true });
        var whole = new JsonObject { ["$schema"] = "https://json-schema.org/draft/2020-12/schema", ["title"] = version };
        foreach (var (key, value) in schema.AsObject())
        {
            whole[key] = value?.DeepClone();
        }

        var path = Path.Combine(Repository.Root, "bench", "schema", $"{name}.schema.json");
        var text = whole.ToJsonString(s_indented).ReplaceLineEndings("\n") + "\n";
        if (Environment.GetEnvironmentVariable("SLORA_WRITE_SCHEMAS") == "1")
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, text);
        }

        Assert.True(File.Exists(path), $"{path} is missing");
        Assert.Equal(File.ReadAllText(path), text);
    }
}
