// The comparison table on the host with a tiny model: what is there is kept, what lacks is measured, the control comes first.
using SLoRA.Bench.Models;
using SLoRA.Bench.Paper;
using SLoRA.Bench.Replay;
using SLoRA.Bench.Results;

namespace SLoRA.Bench.Tests;

public sealed class PaperRunTests : IDisposable
{
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"slora-paper-{Guid.NewGuid():N}.json");

    public void Dispose() => File.Delete(_path);

    [Fact]
    public async Task A_table_is_finished_over_two_runs_with_a_control_in_the_second()
    {
        var options = new PaperOptions { Sets = ["S1", "S2"], Adapters = [5, 20], Rate = 20, Seconds = 2, StopsAll = true, Replay = new ReplayOptions { Window = new ReplayWindow(0.5, 2) } };

        // Room for one cell only: the estimate of the next is what the first took, above what is left.
        var (first, missing) = await RunAsync(options with { BudgetSeconds = 0.5 + 2 * options.Seconds });
        Assert.InRange(missing, 1, 3);
        Assert.Equal(4 - missing, first.Cells.Count);
        Assert.DoesNotContain(first.Cells, cell => cell.IsControl);

        var (second, left) = await RunAsync(options);
        Assert.Equal(0, left);
        Assert.Equal(5, second.Cells.Count);
        var control = second.Cells[first.Cells.Count];
        Assert.Equal((true, 2, new PaperKey("S1", 5, "default", 20, 2)), (control.IsControl, control.Run, control.Key));
        Assert.All(second.Cells, cell => Assert.Equal(0, cell.Report!.Results.Aborted));
        Assert.All(second.Cells, cell => Assert.InRange(cell.Report!.Bound!.RequestsPerSecond, 1, 100));
        Assert.Equal(20, second.Cells[^1].Report!.Adapters!.Count);
        Assert.Equal(40, second.Cells[^1].Report!.Trace.Requests);

        // Nothing lacks: nothing is measured, no control either.
        var (third, none) = await RunAsync(options);
        Assert.Equal((5, 0), (third.Cells.Count, none));
    }

    [Fact]
    public async Task A_run_without_the_control_among_its_cells_measures_it_all_the_same_and_first()
    {
        var options = new PaperOptions { Sets = ["S1"], Adapters = [1, 20], Rate = 10, Seconds = 1, StopsAll = true, Replay = new ReplayOptions { Window = new ReplayWindow(0, 1) } };
        var (table, _) = await RunAsync(options);
        Assert.Equal([(5, true), (1, false), (20, false)], table.Cells.Select(cell => (cell.Key.Adapters, cell.IsControl)));

        File.Delete(_path);
        var (wanted, _) = await RunAsync(options with { Adapters = [1, 5] });
        Assert.Equal([(5, false), (1, false)], wanted.Cells.Select(cell => (cell.Key.Adapters, cell.IsControl)));
    }

    [Fact]
    public async Task A_table_of_other_settings_is_not_resumed()
    {
        var options = new PaperOptions { Sets = ["S1"], Adapters = [5], Rate = 10, Seconds = 1, StopsAll = true, Replay = new ReplayOptions { Window = new ReplayWindow(0, 1) } };
        var (table, _) = await RunAsync(options);
        Assert.Equal(("tiny", "bf16", "host", 64L << 20, 64), (table.Settings!.Model, table.Settings.Dtype, table.Settings.Backend, table.Settings.PoolBytes, table.Settings.MaxSequences));
        await Refuses(options with { DistinctImages = 7 }, EngineOptions, "distinct 512, this run has 7");
        await Refuses(options with { StopsAll = false }, EngineOptions, "window on, this run has off");
        await Refuses(options, () => Changed(engine => engine.Model = SyntheticModels.Open("llama-124m", ComputeDtype.Bf16)), "model tiny, this run has llama-124m");
        await Refuses(options, () => Changed(engine => engine.Memory.PoolBytes = 1 << 20), "pool-bytes 67108864, this run has 1048576");
        Assert.Equal(0, (await RunAsync(options)).Missing);

        // One without settings is held to what its reports say.
        (table with { Settings = null }).Write(_path);
        await Refuses(options, () => Changed(engine => engine.Model.Dtype = ComputeDtype.F32), "dtype bf16, this run has f32");
        await Refuses(options with { Modules = 1 }, EngineOptions, "modules q,k,v,o, this run has q");
        await using var other = new PaperRun(options, () => Changed(engine => engine.Memory.PoolBytes = 1 << 20), _path, new Quiet());
        Assert.Equal(0, (await other.RunAsync(default)).Missing);

        async Task Refuses(PaperOptions wanted, Func<SLoRAOptions> engine, string problem)
        {
            await using var run = new PaperRun(wanted, engine, _path, new Quiet());
            var error = await Assert.ThrowsAsync<ArgumentException>(() => run.RunAsync(default));
            Assert.Equal($"'{_path}' was measured with {problem}; a table has one of them: name another file", error.Message);
        }
    }

    // tiny has 2 x 200,704 parameters in layers and 2 x 1024 x 128 beside, of 2 bytes: 1.3 MB a copy.
    [Fact]
    public async Task Packed_copies_share_the_memory_and_do_not_fit_where_they_do_not()
    {
        var options = new PaperOptions { Sets = ["S1"], Adapters = [5, 100], Modes = ["packed"], Rate = 10, Seconds = 1, Replay = new ReplayOptions { Window = new ReplayWindow(0.2, 1) } };
        var (table, missing) = await RunAsync(options);
        Assert.Equal(0, missing);
        Assert.Equal((3, options.Control, true), (table.Cells.Count, table.Cells[0].Key, table.Cells[0].IsControl));
        table = table with { Cells = [.. table.Cells.Skip(1)] };
        var pages = table.Cells[0].Report!.Engine!.TotalPages;
        Assert.Equal(((64 << 20) + 1_327_104) / 5 - 1_327_104, pages * table.Cells[0].Report!.Engine!.PageBytes, 2.0 * 16384);
        Assert.Equal(0, table.Cells[0].Report!.Engine!.AdapterLoads);
        Assert.Equal("S1", table.Cells[0].Report!.Adapters!.Set);
        Assert.Null(table.Cells[1].Report);
        Assert.StartsWith("100 copies of 1327104 bytes leave 0 bytes of KV each of 68435968 in all", table.Cells[1].Note, StringComparison.Ordinal);
    }

    [Fact]
    public Task Packed_copies_of_an_unknown_pool_are_refused_before_a_cell_is_measured() =>
        RefusesAsync(new PaperOptions { Modes = ["default", "packed"] }, () => Changed(engine => engine.Memory.PoolBytes = 0), "--pool-bytes is 0; packed copies of the model need to know what there is to share");

    [Fact]
    public Task Adapters_of_a_folder_are_refused() =>
        RefusesAsync(new PaperOptions(), () => Changed(engine => engine.Adapters.Directories.Add("folder")), "--adapters is 'folder'; a table's adapters are synthetic, those of --sets");

    [Fact]
    public async Task Requests_longer_than_the_context_are_refused_before_a_cell_is_measured()
    {
        await RefusesAsync(new PaperOptions { Adapters = [5] }, () => Changed(engine => engine.Memory.MaxContext = 512), "the longest request of trace 'n5-r60-s60-a1-cv1' has 10");

        // The model's own limit is the nearer one.
        var path = SyntheticModels.Open("tiny", ComputeDtype.Bf16).Path;
        Assert.Equal(ModelShape.Read(path).MaxContext, ModelShape.Read(path).ContextOf(1 << 20));
        var options = new PaperOptions { Sets = ["S1"], Adapters = [5], Lengths = (8, 32), Rate = 10, Seconds = 1, StopsAll = true, Replay = new ReplayOptions { Window = new ReplayWindow(0, 1) } };
        await using var run = new PaperRun(options, () => Changed(engine => engine.Memory.MaxContext = 64), _path, new Quiet());
        var (table, _) = await run.RunAsync(default);
        Assert.Equal((0, "8:32"), (table.Cells[0].Report!.Results.Aborted, table.Settings!.Lengths));
        Assert.InRange(table.Cells[0].Report!.Trace.PromptTokens, 80, 310);
    }

    [Fact]
    public void The_split_is_by_rule()
    {
        var options = EngineOptions();
        var context = new ModeContext(new PaperKey("S2", 5, "split", 60, 60), new PaperOptions().SetOf("S2"), ModelShape.Read(options.Model.Path), 2, 1024);
        BenchModes.Apply(options, context);

        // Ranks 64, 32, 16, 8, 64 of (128 + 128) x 4 modules x 2 layers x 2 bytes.
        Assert.Equal((ExperimentMemory.Split, 184 * 4096 / 5, 5), (options.Experiment.Memory, options.Experiment.MeanAdapterBytes, options.Experiment.Concurrency));
        BenchModes.Apply(options, context with { Key = context.Key with { Adapters = 1000 } });
        Assert.Equal((30 * 4096, 64), (options.Experiment.MeanAdapterBytes, options.Experiment.Concurrency));
        Assert.Empty(options.Validate());
    }

    // The mean adapter of S2 is 3.75 times that of S1: rank 30 over 8.
    [Fact]
    public async Task Split_cells_of_another_set_have_the_region_of_that_set()
    {
        var regions = new List<SLoRAOptions>();
        var options = new PaperOptions { Sets = ["S1", "S2"], Adapters = [20], Modes = ["split"], Rate = 10, Seconds = 1, StopsAll = true, Replay = new ReplayOptions { Window = new ReplayWindow(0, 1) } };
        await using var run = new PaperRun(options, Listed, _path, new Quiet());
        var (table, _) = await run.RunAsync(default);
        Assert.Equal(["S1", "S2"], table.Cells.Where(cell => !cell.IsControl).Select(cell => cell.Key.Set));
        Assert.Equal([8 * 4096L, 30 * 4096L], regions.Where(region => region.Experiment.Memory == ExperimentMemory.Split).Select(region => region.Experiment.MeanAdapterBytes));

        SLoRAOptions Listed()
        {
            regions.Add(EngineOptions());
            return regions[^1];
        }
    }

    [Theory]
    [InlineData("split")]
    [InlineData("bmm")]
    [InlineData("merge")]
    [InlineData("per-adapter")]
    public async Task Other_modes_serve_the_same_trace(string mode)
    {
        var options = new PaperOptions { Sets = ["S2"], Adapters = [5], Modes = [mode], Rate = 10, Seconds = 1, Replay = new ReplayOptions { Window = new ReplayWindow(0, 60) } };
        var (table, _) = await RunAsync(options);
        var report = Assert.Single(table.Cells, cell => !cell.IsControl).Report!;
        Assert.Equal((mode, 0, 0, report.Results.Sent), (report.Mode, report.Results.Aborted, report.Results.Stopped, report.Results.Completed));
    }

    private async Task<(PaperTable Table, int Missing)> RunAsync(PaperOptions options)
    {
        await using var run = new PaperRun(options, EngineOptions, _path, new Quiet());
        return await run.RunAsync(default);
    }

    private async Task RefusesAsync(PaperOptions options, Func<SLoRAOptions> engine, string problem)
    {
        await using var run = new PaperRun(options, engine, _path, new Quiet());
        Assert.StartsWith(problem, (await Assert.ThrowsAsync<ArgumentException>(() => run.RunAsync(default))).Message, StringComparison.Ordinal);
        Assert.False(File.Exists(_path), "nothing is measured");
    }

    private static SLoRAOptions EngineOptions()
    {
        var options = new SLoRAOptions { Model = SyntheticModels.Open("tiny", ComputeDtype.Bf16) };
        EngineReplayTests.Configure(options);
        return options;
    }

    private static SLoRAOptions Changed(Action<SLoRAOptions> change)
    {
        var options = EngineOptions();
        change(options);
        return options;
    }

    private sealed class Quiet : IPaperDisplay
    {
        public Task LoadAsync(Func<IProgress<LoadProgress>, Task> load) => load(new Progress<LoadProgress>());

        public Task<ReplayReport> ReplayAsync(PaperKey key, Func<IProgress<ReplayProgress>, Task<ReplayReport>> replay) => replay(new Progress<ReplayProgress>());

        public void Show(PaperCell cell)
        {
        }
    }
}
