// The card's own limits, measured in the same run as what is compared with them.
using SLoRA.Bench.Models;
using SLoRA.Engine;

namespace SLoRA.Bench.Bounds;

/// Tokens: rows of the four matmuls of a layer; SecondsPerLayer: of all four.
internal sealed record MatmulCeiling(int Tokens, double SecondsPerLayer, double OperationsPerSecond);

internal sealed record Ceilings(double CopyBytesPerSecond, double UploadBytesPerSecond, IReadOnlyList<MatmulCeiling> Matmuls)
{
    private const int Rounds = 10;
    private const int HostRounds = 3;

    /// Tokens of a prefill step by which bounds are worked out.
    public static int PrefillTokens(bool isCuda) => isCuda ? 2048 : 256;

    public double PrefillOperationsPerSecond => Matmuls.Count == 0 ? 0 : Matmuls[0].OperationsPerSecond;

    /// Measures before a model takes the memory. `tokens`: for which numbers of rows the matmuls are measured.
    public static Ceilings Measure(ModelShape shape, NativeOptions options, ComputeDtype dtype, IReadOnlyList<int>? tokens = null)
    {
        var isCuda = IsCuda(options);
        var rounds = isCuda ? Rounds : HostRounds;
        var bytes = isCuda ? 1L << 30 : 1L << 27;
        var (copy, upload) = NativeCeilings.MeasureCopies(options, bytes, Math.Min(bytes, 1L << 28), rounds);
        return new Ceilings(copy, upload, [.. (tokens ?? [PrefillTokens(isCuda)]).Select(rows => MeasureLayer(shape, options, dtype, rows, rounds))]);
    }

    /// Whether these options come to a CUDA device.
    public static bool IsCuda(NativeOptions options) => options.Backend switch
    {
        ComputeBackend.Host => false,
        ComputeBackend.Cuda => true,
        _ => NativeDiagnosis.ResolveBackend(options) == "cuda",
    };

    private static MatmulCeiling MeasureLayer(ModelShape shape, NativeOptions options, ComputeDtype dtype, int tokens, int rounds)
    {
        var seconds = shape.LayerMatmuls.Sum(matmul => NativeCeilings.MeasureMatmul(options, dtype, rounds, (tokens, matmul.N, matmul.K)));
        return new MatmulCeiling(tokens, seconds, 2.0 * tokens * shape.LayerParameters / seconds);
    }
}
