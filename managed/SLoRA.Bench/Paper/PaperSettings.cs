// What all cells of a table have in common: only then may they stand beside each other.
using System.Globalization;
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Bounds;

namespace SLoRA.Bench.Paper;

/// null: not said, and then not compared.
internal sealed record PaperSettings
{
    public string? Model { get; init; }

    public string? Dtype { get; init; }

    /// "host" or "cuda".
    public string? Backend { get; init; }

    public int? TpSize { get; init; }

    /// As asked for; 0: a rule by free memory.
    public long? PoolBytes { get; init; }

    public int? MaxContext { get; init; }

    public int? MaxSequences { get; init; }

    public int? MaxBatchTokens { get; init; }

    public int? PrefillChunk { get; init; }

    public string? Modules { get; init; }

    /// 0: all differ.
    public int? DistinctImages { get; init; }

    /// Such as "8:512", of prompts and of outputs.
    public string? Lengths { get; init; }

    /// Such as "20:60", in seconds of the trace.
    public string? Window { get; init; }

    /// Whether the default mode's cells stop with the window too.
    public bool? StopsAll { get; init; }

    public static PaperSettings Of(PaperOptions options, SLoRAOptions engine) => new()
    {
        Model = engine.Model.ServedName,
        Dtype = engine.Model.Dtype.ToString().ToLowerInvariant(),
        Backend = Ceilings.IsCuda(engine.Native) ? "cuda" : "host",
        TpSize = engine.TensorParallel.Size,
        PoolBytes = engine.Memory.PoolBytes,
        MaxContext = engine.Memory.MaxContext,
        MaxSequences = engine.Scheduler.MaxSequences,
        MaxBatchTokens = engine.Scheduler.MaxBatchTokens,
        PrefillChunk = engine.Scheduler.PrefillChunk,
        Modules = ModuleNames.Of(options.Modules),
        DistinctImages = options.DistinctImages,
        Lengths = string.Create(CultureInfo.InvariantCulture, $"{options.Lengths.Shortest}:{options.Lengths.Longest}"),
        Window = WindowOf(options.Replay.Window.FromSeconds, options.Replay.Window.ToSeconds),
        StopsAll = options.StopsAll,
    };

    /// What the reports of a table say that has no settings of its own.
    public static PaperSettings Of(IReadOnlyList<PaperCell> cells)
    {
        var reports = cells.Select(cell => cell.Report).OfType<Results.ReplayReport>().ToArray();
        var adapters = reports.Select(report => report.Adapters).FirstOrDefault(adapters => adapters is { Modules.Length: > 0 });
        return reports.Length == 0 ? new PaperSettings() : new PaperSettings
        {
            Model = reports[0].Model,
            Dtype = reports[0].Dtype,
            Backend = reports[0].Environment.Backend,
            Modules = adapters?.Modules,
            DistinctImages = adapters is not null && adapters.Images < adapters.Count ? adapters.Images : null,
            Window = WindowOf(reports[0].Results.Window.FromSeconds, reports[0].Results.Window.ToSeconds),
            StopsAll = reports.Any(report => report.Mode == BenchModes.Default && report.Results.Stopped > 0) ? true : null,
        };
    }

    /// Throws ArgumentException with the first setting that both say and that differs, and both values.
    public void Require(PaperSettings wanted, string path)
    {
        foreach (var ((name, mine), (_, others)) in Named.Zip(wanted.Named))
        {
            if (mine is not null && others is not null && !mine.Equals(others))
            {
                throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"'{path}' was measured with {name} {mine}, this run has {others}; a table has one of them: name another file"));
            }
        }
    }

    private IEnumerable<(string Name, object? Value)> Named =>
    [
        ("model", Model), ("dtype", Dtype), ("backend", Backend), ("tp", TpSize), ("pool-bytes", PoolBytes), ("max-context", MaxContext), ("max-sequences", MaxSequences),
        ("max-batch-tokens", MaxBatchTokens), ("prefill-chunk", PrefillChunk), ("modules", Modules), ("distinct", DistinctImages), ("lengths", Lengths), ("window-seconds", Window), ("window", StopsAll switch { true => "on", false => "off", _ => null }),
    ];

    private static string WindowOf(double from, double to) => string.Create(CultureInfo.InvariantCulture, $"{from}:{to}");
}
