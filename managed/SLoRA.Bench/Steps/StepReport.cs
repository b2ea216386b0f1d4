// Whole steps beside their floors.
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Results;

namespace SLoRA.Bench.Steps;

internal sealed record StepReport
{
    public const string CurrentSchema = "slora-bench-step/1";

    public string Schema { get; init; } = CurrentSchema;

    public required BenchEnvironment Environment { get; init; }

    public required string Model { get; init; }

    public required string Dtype { get; init; }

    public int Context { get; init; }

    public required Ceilings Ceilings { get; init; }

    public IReadOnlyList<DecodeStep> Decode { get; init; } = [];

    public IReadOnlyList<PrefillStep> Prefill { get; init; } = [];
}

/// Medians over the measured steps. Bytes: weights, the adapters of the batch and the KV of its sequences, each once. Floor:
/// those bytes at the rate of a copy.
internal sealed record DecodeStep(string Set, int Batch, double DeviceMicroseconds, double WallMicroseconds, long Bytes, double FloorMicroseconds)
{
    public double BytesPerSecond => Bytes / DeviceMicroseconds * 1e6;

    public double OverFloor => DeviceMicroseconds / FloorMicroseconds;

    public double TokensPerSecond => Batch / WallMicroseconds * 1e6;
}

/// Matmul: what the layers' matmuls alone take for as many rows.
internal sealed record PrefillStep(string Set, int Tokens, double DeviceMicroseconds, double MatmulMicroseconds)
{
    public double ShareOfMatmulRate => MatmulMicroseconds / DeviceMicroseconds;

    public double TokensPerSecond => Tokens / DeviceMicroseconds * 1e6;
}
