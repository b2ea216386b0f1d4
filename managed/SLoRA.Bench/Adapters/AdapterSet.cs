// Which adapters a replay has: so many, of lora_ranks in turn, on some modules. The ones of a trace are named by index.
using System.Globalization;

namespace SLoRA.Bench.Adapters;

/// At most `DistinctImages` different weights; further adapters repeat them under ids of their own. 0: all differ.
internal sealed record AdapterSet(string Name, int Count, IReadOnlyList<int> LoraRanks, uint Modules = AdapterSet.Attention, int DistinctImages = 0)
{
    /// q, k, v and o, as in the paper.
    public const uint Attention = 0xf;

    private const string NamePrefix = "a";
    private const ulong Seed = 1000;

    /// The paper's sets: lora_ranks in turn.
    public static IReadOnlyDictionary<string, IReadOnlyList<int>> Paper { get; } = new Dictionary<string, IReadOnlyList<int>>
    {
        ["S1"] = [8],
        ["S2"] = [64, 32, 16, 8],
        ["S4"] = [64, 32, 16],
    };

    public static string NameOf(int index) => string.Create(CultureInfo.InvariantCulture, $"{NamePrefix}{index}");

    public int RankOf(int index) => LoraRanks[index % LoraRanks.Count];

    /// Throws with the value and the limit.
    public void Validate()
    {
        if (Count is < 0 or > SyntheticAdapters.MaxCount)
        {
            throw new ArgumentException($"the number of adapters is {Count}; it must be in [0, {SyntheticAdapters.MaxCount}]");
        }

        if (LoraRanks.Count == 0 || LoraRanks.Any(rank => rank is < 1 or > 4096))
        {
            throw new ArgumentException($"the lora_ranks are '{string.Join(',', LoraRanks)}'; at least one in [1, 4096] is needed");
        }

        if (DistinctImages < 0)
        {
            throw new ArgumentException($"the number of distinct images is {DistinctImages}; it must be 0 (all) or more");
        }
    }

    /// Different images among them.
    public int NumImages => Count == 0 ? 0 : Describe().NumImages;

    /// Makes them in the engine's host memory, in parallel.
    public Task LoadAsync(IAdapterCatalog catalog, IProgress<LoadProgress>? progress, CancellationToken ct)
    {
        Validate();
        return Count == 0 ? Task.CompletedTask : catalog.LoadSyntheticAsync(Describe(), progress is null ? null : new OneStage(progress), ct);
    }

    // All are one stage of a load, whichever is being made.
    private sealed class OneStage(IProgress<LoadProgress> progress) : IProgress<LoadProgress>
    {
        public void Report(LoadProgress value) => progress.Report(value with { Stage = "adapters" });
    }

    private SyntheticAdapters Describe() => new(Count, LoraRanks)
    {
        NamePrefix = NamePrefix,
        Seed = Seed,
        TargetModules = Modules == 0 ? [] : ModuleNames.Of(Modules).Split(','),
        DistinctImages = DistinctImages,
    };
}
