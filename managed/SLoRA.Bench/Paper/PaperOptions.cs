// Which cells of the comparison table are wanted, and how they are measured.
using System.Globalization;
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Replay;
using SLoRA.Bench.Traces;

namespace SLoRA.Bench.Paper;

internal sealed record PaperOptions
{
    private const int ControlAdapters = 5;

    public IReadOnlyList<string> Sets { get; init; } = ["S1", "S2"];

    public IReadOnlyList<int> Adapters { get; init; } = [1, 5, 100, 1000, 2000];

    public IReadOnlyList<string> Modes { get; init; } = [BenchModes.Default];

    public double Rate { get; init; } = 60;

    public double Seconds { get; init; } = 60;

    /// Of prompts and of outputs, uniform in [Shortest, Longest).
    public (int Shortest, int Longest) Lengths { get; init; } = (8, 512);

    /// Stop every cell at the window's end; otherwise only those of other modes than the default stop there.
    public bool StopsAll { get; init; }

    public uint Modules { get; init; } = AdapterSet.Attention;

    public int DistinctImages { get; init; } = 512;

    public ReplayOptions Replay { get; init; } = new();

    /// 0: no limit.
    public double BudgetSeconds { get; init; }

    public IEnumerable<PaperKey> Keys =>
        from mode in Modes from set in Sets from adapters in Adapters.Order() select new PaperKey(set, adapters, mode, Rate, Seconds);

    /// Measured first in each run.
    public PaperKey Control => ControlOf(new PaperKey(Sets[0], ControlAdapters, BenchModes.Default, Rate, Seconds));

    /// The cell over which a cell is given: of its set and trace, in the default mode at few adapters.
    public static PaperKey ControlOf(PaperKey key) => key with { Adapters = ControlAdapters, Mode = BenchModes.Default };

    public AdapterSet SetOf(string name) => new(name, Math.Max(ControlAdapters, Adapters.Max()), AdapterSet.Paper[name], Modules, DistinctImages);

    public Trace TraceOf(PaperKey key) => TraceGenerator.Generate(SpecOf(key.Adapters));

    /// Room for prompt and output of the longest request of any cell.
    public int LongestTokens => 2 * Lengths.Longest;

    private TraceSpec SpecOf(int adapters) => new(adapters, Rate, Seconds) { ShortestTokens = Lengths.Shortest, LongestTokens = Lengths.Longest };

    /// Throws ArgumentException with the value and what it may be.
    public void Validate()
    {
        if (Sets.FirstOrDefault(set => !AdapterSet.Paper.ContainsKey(set)) is { } unknown)
        {
            throw new ArgumentException($"there is no set '{unknown}'; the sets are {string.Join(", ", AdapterSet.Paper.Keys)}");
        }

        if (Sets.Count == 0 || Adapters.Count == 0 || Modes.Count == 0)
        {
            throw new ArgumentException("a table needs a set, a number of adapters and a mode");
        }

        if (!(BudgetSeconds >= 0))
        {
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"--budget-seconds is {BudgetSeconds}; it must be 0 (no limit) or more"));
        }

        foreach (var mode in Modes)
        {
            BenchModes.Require(mode);
        }

        SpecOf(Adapters.Min()).Validate();
    }
}
