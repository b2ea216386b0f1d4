// The machine that a bound is worked out for: rates, sizes, and the pool.
namespace SLoRA.Bench.Bounds;

/// What an adapter reads in a step that uses it, and the pages that it holds while somebody does.
internal readonly record struct AdapterSize(long Bytes, int Pages);

internal sealed record BoundMachine
{
    /// Bytes a second at which a step reads.
    public required double BytesPerSecond { get; init; }

    /// Operations a second of prefill.
    public required double OperationsPerSecond { get; init; }

    public required long WeightBytes { get; init; }

    public required long KvBytesPerToken { get; init; }

    public required double PrefillOperationsPerToken { get; init; }

    public required int TotalPages { get; init; }

    public required int TokensPerPage { get; init; }

    /// By adapter index; not asked for -1.
    public required Func<int, AdapterSize> AdapterSize { get; init; }
}
