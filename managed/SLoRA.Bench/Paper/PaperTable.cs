// The comparison table as a file that grows over several runs. Written whole after each cell, by way of a second file, so
// that a run that is cut short loses one cell at most.
using System.Text.Json;
using SLoRA.Bench.Results;

namespace SLoRA.Bench.Paper;

internal sealed record PaperTable
{
    /// Raised when a field changes its meaning or goes; new fields do not raise it.
    public const string CurrentSchema = "slora-bench-paper/1";

    public string Schema { get; init; } = CurrentSchema;

    /// null: the table was begun by a version that did not write them.
    public PaperSettings? Settings { get; init; }

    public IReadOnlyList<PaperCell> Cells { get; init; } = [];

    public int NextRun => Cells.Count == 0 ? 1 : Cells.Max(cell => cell.Run) + 1;

    public bool Has(PaperKey key) => Cells.Any(cell => !cell.IsControl && cell.Key == key);

    /// Requests of all cells that were refused or failed, and the first one's message.
    public (long Aborted, string? FirstError) Failures()
    {
        var results = Cells.Select(cell => cell.Report?.Results).OfType<ReplaySummary>().ToArray();
        return (results.Sum(result => (long)result.Aborted), results.FirstOrDefault(result => result.Aborted > 0)?.FirstError);
    }

    /// null where the file is JSON of another kind. Throws ArgumentException where it is none at all.
    public static PaperTable? TryRead(string path)
    {
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(path));
            if (document.RootElement.ValueKind != JsonValueKind.Object || !document.RootElement.TryGetProperty("schema", out var schema) || schema.ValueKind != JsonValueKind.String || !schema.ValueEquals(CurrentSchema))
            {
                return null;
            }

            var table = document.Deserialize(BenchJson.Default.PaperTable);
            return table is not null && table.Cells.All(cell => cell is not null) ? table : throw new JsonException("a cell is null");
        }
        catch (JsonException error)
        {
            throw new ArgumentException($"'{path}' is no JSON of a bench: {error.Message}", error);
        }
    }

    /// The table in a file, or an empty one where there is no file. Throws ArgumentException where it is something else.
    public static PaperTable Open(string path) => !File.Exists(path)
        ? new PaperTable()
        : TryRead(path) ?? throw new ArgumentException($"'{path}' is no table of schema {CurrentSchema}");

    /// This table for a run with the settings. Throws ArgumentException where its cells were measured with others.
    public PaperTable For(PaperSettings wanted, string path)
    {
        if (Cells.Count == 0)
        {
            return this with { Settings = wanted };
        }

        (Settings ?? PaperSettings.Of(Cells)).Require(wanted, path);
        return this;
    }

    public void Write(string path)
    {
        var next = path + ".new";
        File.WriteAllText(next, JsonSerializer.Serialize(this, BenchJson.Default.PaperTable) + "\n");
        File.Move(next, path, overwrite: true);
    }
}
