// Many adapters with random weights, for measurements at a scale that no folder of trained adapters has.
namespace SLoRA;

/// <summary>Adapters with random weights: adapter i is named <see cref="NameOf"/>(i) and has lora_rank
/// <c>LoraRanks[i % LoraRanks.Count]</c>. The same seed gives the same weights on every machine.</summary>
/// <param name="Count">How many, 1 to <see cref="MaxCount"/>.</param>
/// <param name="LoraRanks">Their lora_ranks in turn, each at least 1.</param>
public sealed record SyntheticAdapters(int Count, IReadOnlyList<int> LoraRanks)
{
    /// <summary>Most adapters of one call.</summary>
    public const int MaxCount = 1_000_000;

    /// <summary>What names begin with.</summary>
    public string NamePrefix { get; init; } = "synthetic-";

    /// <summary>Seed of the weights.</summary>
    public ulong Seed { get; init; }

    /// <summary>Short names of the modules they change, of q, k, v, o, gate, up, down; empty: all.</summary>
    public IReadOnlyList<string> TargetModules { get; init; } = [];

    /// <summary>Host images in all, rounded up to a multiple of the number of ranks: adapters beyond share those of earlier
    /// ones, each with an id, pages and copies of its own. 0: one an adapter.</summary>
    public int DistinctImages { get; init; }

    /// <summary>The name of an adapter.</summary>
    /// <param name="index">0 to Count - 1.</param>
    public string NameOf(int index) => $"{NamePrefix}{index}";

    /// <summary>Images that there will be.</summary>
    public int NumImages => DistinctImages == 0 ? Count : (int)Math.Min(Count, ((long)DistinctImages + LoraRanks.Count - 1) / LoraRanks.Count * LoraRanks.Count);

    /// <summary>Throws if a value is outside its limits.</summary>
    /// <exception cref="RequestInvalidException">With the value and the limit.</exception>
    public void Validate()
    {
        Check.That(Count is >= 1 and <= MaxCount, "count", $"count is {Count}, the limit is 1..{MaxCount}");
        Check.That(LoraRanks.Count > 0 && LoraRanks.All(rank => rank >= 1), "lora_ranks", $"lora_ranks is [{string.Join(", ", LoraRanks)}]; one or more are needed, each at least 1");
        Check.That(DistinctImages >= 0, "distinct_images", $"distinct_images is {DistinctImages}, the limit is 0 or more");
        Check.That(AdapterSource.IsValidName(NameOf(Count - 1)), "name_prefix", $"name_prefix is '{NamePrefix}', which makes no valid adapter names");
    }
}
