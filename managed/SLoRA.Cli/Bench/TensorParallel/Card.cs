// A card and the link between several of it, as data: bench/cards. What was measured and what is assumed is said in its `source`.
using System.Text.Json;
using System.Text.Json.Serialization;

namespace SLoRA.Cli.Bench.TensorParallel;

internal sealed record Card
{
    public required string Name { get; init; }

    public required string Source { get; init; }

    public required double MemoryGib { get; init; }

    /// Of a device copy, read and written.
    public required double MemoryBytesPerSecond { get; init; }

    /// Of the layers' bf16 matmuls in a prefill of thousands of tokens.
    public required double MatmulFlops { get; init; }

    /// Of causal attention in a prefill.
    public required double AttentionFlops { get; init; }

    /// Of LoRA's products in a prefill.
    public required double LoraFlops { get; init; }

    /// Rows of a decode step, and the time of its matmuls over that of reading their weights.
    public required IReadOnlyDictionary<int, double> DecodeMatmulRatio { get; init; }

    /// The same of attention over the reading of K and V.
    public required double DecodeAttentionRatio { get; init; }

    /// Norms, rotation, activation and the boundaries between kernels, a layer.
    public required double LayerMicroseconds { get; init; }

    /// What LoRA costs a layer beside the reading of its adapters, for each of its two pairs of kernels in attention.
    public required double LoraPairMicroseconds { get; init; }

    /// Rows of a decode step, and the time of LoRA over the reading of its adapters.
    public required IReadOnlyDictionary<int, double> LoraRatio { get; init; }

    /// Bytes that the elementwise kernels of a layer move for each token and hidden channel of a prefill.
    public required double ElementwiseBytes { get; init; }

    public required Link Link { get; init; }

    public static Card Read(string path)
    {
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(path), TpJson.Default.Card) ?? throw new ArgumentException($"{path} is empty");
        }
        catch (JsonException error)
        {
            throw new ArgumentException($"{path}: {error.Message}", error);
        }
    }
}

internal sealed record Link
{
    public required string Name { get; init; }

    /// Ways to send; a collective goes the one that is fastest for its size, as NCCL's short and long protocols.
    public required IReadOnlyList<LinkProtocol> Protocols { get; init; }
}

internal sealed record LinkProtocol
{
    /// What a rank can send in a collective, one direction.
    public required double BytesPerSecond { get; init; }

    /// Of a collective of nearly nothing, and for each further step of the ring.
    public required double LatencyMicroseconds { get; init; }

    public required double HopMicroseconds { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true, UseStringEnumConverter = true, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(Card))]
[JsonSerializable(typeof(TpReport))]
internal sealed partial class TpJson : JsonSerializerContext;
