// Reports as files.
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using SLoRA.Bench.Cold;
using SLoRA.Bench.Steps;

namespace SLoRA.Bench.Results;

internal static class BenchFiles
{
    /// Throws ArgumentException where the file is no report of this schema.
    public static ReplayReport ReadReplay(string path)
    {
        try
        {
            var report = JsonSerializer.Deserialize(File.ReadAllText(path), BenchJson.Default.ReplayReport);
            return report?.Schema == ReplayReport.CurrentSchema ? report : throw new ArgumentException($"'{path}' has schema '{report?.Schema}'; {ReplayReport.CurrentSchema} is needed");
        }
        catch (JsonException error)
        {
            throw new ArgumentException($"'{path}' is no report of a replay: {error.Message}", error);
        }
    }

    public static void Write(ReplayReport report, string path) => Write(report, BenchJson.Default.ReplayReport, path);

    public static void Write(StepReport report, string path) => Write(report, BenchJson.Default.StepReport, path);

    public static void Write(ColdReport report, string path) => Write(report, BenchJson.Default.ColdReport, path);

    private static void Write<T>(T report, JsonTypeInfo<T> type, string path) => File.WriteAllText(path, JsonSerializer.Serialize(report, type) + "\n");
}
