// Measures what a table lacks: an engine a mode, a set of adapters at a time, the control first. Stops between two cells
// where the next would go past the budget.
using System.Diagnostics;
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Models;
using SLoRA.Bench.Replay;
using SLoRA.Bench.Results;

namespace SLoRA.Bench.Paper;

/// How a run shows itself: loads, replays and cells that are done.
internal interface IPaperDisplay
{
    Task LoadAsync(Func<IProgress<LoadProgress>, Task> load);

    Task<ReplayReport> ReplayAsync(PaperKey key, Func<IProgress<ReplayProgress>, Task<ReplayReport>> replay);

    void Show(PaperCell cell);
}

internal sealed class PaperRun(PaperOptions options, Func<SLoRAOptions> engineOptions, string path, IPaperDisplay display) : IAsyncDisposable
{
    // Until a cell has been seen: the trace and as long again for its drain.
    private const double FirstEstimateFactor = 2;

    private readonly Stopwatch _watch = Stopwatch.StartNew();
    private PaperTable _table = PaperTable.Open(path);
    private double _longestCell = options.Seconds * FirstEstimateFactor;
    private Ceilings? _ceilings;
    private SLoRAEngine? _engine;
    private PaperKey _engineKey = new(string.Empty, 0, string.Empty, 0, 0);
    private AdapterSet? _set;
    private double _setSeconds;

    /// The table at the end, and how many of the wanted cells it lacks.
    public async Task<(PaperTable Table, int Missing)> RunAsync(CancellationToken ct)
    {
        options.Validate();
        RequireEngine(engineOptions());
        var run = _table.NextRun;
        var missing = options.Keys.Where(key => !_table.Has(key)).OrderByDescending(key => key == options.Control).ToList();
        if (missing.Count > 0 && missing[0] != options.Control && HasTime())
        {
            await MeasureAsync(options.Control, run, isControl: true, ct).ConfigureAwait(false);
        }

        while (missing.Count > 0 && HasTime())
        {
            await MeasureAsync(missing[0], run, isControl: false, ct).ConfigureAwait(false);
            missing.RemoveAt(0);
        }

        return (_table, missing.Count);
    }

    // All that is wrong for any cell, before the first one is measured.
    private void RequireEngine(SLoRAOptions engine)
    {
        if (engine.Adapters.Directories.Count > 0)
        {
            throw new ArgumentException($"--adapters is '{engine.Adapters.Directories[0]}'; a table's adapters are synthetic, those of --sets");
        }

        foreach (var mode in options.Modes)
        {
            BenchModes.Require(mode, engine);
        }

        var context = ModelShape.Read(engine.Model.Path).ContextOf(engine.Memory.MaxContext);
        foreach (var key in options.Keys.Append(options.Control))
        {
            options.TraceOf(key).RequireContext(context);
        }

        _table = _table.For(PaperSettings.Of(options, engine), path);
    }

    public async ValueTask DisposeAsync()
    {
        if (_engine is { } engine)
        {
            _engine = null;
            await engine.DisposeAsync().ConfigureAwait(false);
        }
    }

    private bool HasTime() => options.BudgetSeconds <= 0 || _watch.Elapsed.TotalSeconds + _longestCell <= options.BudgetSeconds;

    private async Task MeasureAsync(PaperKey key, int run, bool isControl, CancellationToken ct)
    {
        var started = _watch.Elapsed;
        try
        {
            await PrepareAsync(key, ct).ConfigureAwait(false);
        }
        catch (ModeDoesNotFitException problem)
        {
            Add(new PaperCell(key, run, isControl, null, problem.Message));
            return;
        }

        var replay = options.Replay with { StopAtWindowEnd = options.StopsAll || key.Mode != BenchModes.Default };
        var measurement = new EngineReplay(_engine!, options.TraceOf(key), replay)
        {
            Mode = key.Mode,
            Set = _set,
            AdapterLoadSeconds = _setSeconds,
            Ceilings = _ceilings,
            Shape = ModelShape.Read(_engine!.Info.ModelPath),
            AdapterName = BenchModes.IsMerged(key.Mode) ? _ => null : null,
        };
        var report = await display.ReplayAsync(key, progress => measurement.RunAsync(progress, ct)).ConfigureAwait(false);
        var cell = new PaperCell(key, run, isControl, report);
        Add(cell with { Report = cell.FiledReport() });
        _longestCell = Math.Max(report.Results.WallSeconds, (_watch.Elapsed - started).TotalSeconds);
    }

    private void Add(PaperCell cell)
    {
        _table = _table with { Cells = [.. _table.Cells, cell] };
        _table.Write(path);
        display.Show(cell);
    }

    private async Task PrepareAsync(PaperKey key, CancellationToken ct)
    {
        if (_engine is null || !BenchModes.HaveOneEngine(_engineKey, key))
        {
            await DisposeAsync().ConfigureAwait(false);
            _engineKey = key;
            _set = null;
            var engine = engineOptions();
            var shape = ModelShape.Read(engine.Model.Path);
            BenchModes.Apply(engine, new ModeContext(key, options.SetOf(key.Set), shape, engine.Model.Dtype == ComputeDtype.F32 ? sizeof(float) : sizeof(short), options.LongestTokens));
            _ceilings ??= Ceilings.Measure(shape, engine.Native, engine.Model.Dtype);
            await display.LoadAsync(async progress => _engine = await SLoRAEngine.LoadAsync(engine, progress, null, ct).ConfigureAwait(false)).ConfigureAwait(false);
        }

        if (_set?.Name != key.Set && !BenchModes.IsMerged(key.Mode))
        {
            await UseAsync(options.SetOf(key.Set), ct).ConfigureAwait(false);
        }
    }

    // All adapters of the largest cell: the smaller ones use the first of them.
    private async Task UseAsync(AdapterSet set, CancellationToken ct)
    {
        foreach (var adapter in _engine!.Adapters.Adapters)
        {
            await _engine.Adapters.UnloadAsync(adapter.Name, UnloadMode.Detach, ct).ConfigureAwait(false);
        }

        _set = set;
        var watch = Stopwatch.StartNew();
        await display.LoadAsync(progress => set.LoadAsync(_engine.Adapters, progress, ct)).ConfigureAwait(false);
        _setSeconds = watch.Elapsed.TotalSeconds;
    }
}
