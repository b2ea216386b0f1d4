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
        var options = new PaperOptions { Sets = ["S1", "S2"], Adapters = [5, 20], Rate = 20, Seconds = 2, Replay = new ReplayOptions { Window = new ReplayWindow(0.5, 2) } };

        // Room for one cell only: the estimate of the next is what the first took, above what is left.
        var (first, missing) = await RunAsync(options with { BudgetSeconds = 0.5 + 2 * options.Seconds, StopsAll = true });
        Assert.InRange(missing, 1, 3);
        Assert.Equal(4 - missing, first.Cells.Count);
        Assert.DoesNotContain(first.Cells, cell => cell.IsControl);

        var (second, left) = await RunAsync(options);
        Assert.Equal(0, left);
        Assert.Equal(5, second.Cells.Count);
        var control = second.Cells[first.Cells.Count];
        Assert.Equal((true, 2, new PaperKey("S1", 5, "default", 20, 2)), (control.IsControl, control.Run, control.Key));
        Assert.All(second.Cells, cell => Assert.Equal(0, cell.Report.Results.Aborted));
        Assert.All(second.Cells, cell => Assert.InRange(cell.Report.Bound!.RequestsPerSecond, 1, 100));
        Assert.Equal(20, second.Cells[^1].Report.Adapters!.Count);
        Assert.Equal(40, second.Cells[^1].Report.Trace.Requests);

        // Nothing lacks: nothing is measured, no control either.
        var (third, none) = await RunAsync(options);
        Assert.Equal((5, 0), (third.Cells.Count, none));
    }

    private async Task<(PaperTable Table, int Missing)> RunAsync(PaperOptions options)
    {
        await using var run = new PaperRun(options, EngineOptions, _path, new Quiet());
        return await run.RunAsync(default);
    }

    private static SLoRAOptions EngineOptions()
    {
        var options = new SLoRAOptions { Model = SyntheticModels.Open("tiny", ComputeDtype.Bf16) };
        EngineReplayTests.Configure(options);
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
