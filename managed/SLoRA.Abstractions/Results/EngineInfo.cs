// What an engine is: fixed once loaded.
namespace SLoRA;

/// <summary>What a loaded engine runs on. Fixed for its life.</summary>
public sealed record EngineInfo
{
    /// <summary>Name under which the base model is served.</summary>
    public required string ModelName { get; init; }

    /// <summary>Folder of the model.</summary>
    public required string ModelPath { get; init; }

    /// <summary>For example <c>LlamaForCausalLM</c>.</summary>
    public required string Architecture { get; init; }

    /// <summary>The backend chosen: <c>host</c> or <c>cuda</c>.</summary>
    public required string Backend { get; init; }

    /// <summary>Numeric format of weights, KV and adapter pages: <c>f32</c>, <c>bf16</c> or <c>f16</c>.</summary>
    public required string ComputeDtype { get; init; }

    /// <summary>One line about the native library, with its version.</summary>
    public required string NativeBuild { get; init; }

    /// <summary>Where the native library was found; empty if unknown.</summary>
    public string NativePath { get; init; } = string.Empty;

    /// <summary>Weights of the base model.</summary>
    public long NumParameters { get; init; }

    /// <summary>Bytes that a step which touches every weight reads.</summary>
    public long WeightBytes { get; init; }

    /// <summary>Host compute threads; 0 on a GPU.</summary>
    public int NumThreads { get; init; }

    /// <summary>Pages of the pool.</summary>
    public int TotalPages { get; init; }

    /// <summary>Tokens of one KV page.</summary>
    public int TokensPerPage { get; init; }

    /// <summary>Bytes of one page over all layers.</summary>
    public long PageBytes { get; init; }

    /// <summary>Most tokens in one step.</summary>
    public int MaxBatchTokens { get; init; }

    /// <summary>Most sequences in one step.</summary>
    public int MaxBatchRows { get; init; }

    /// <summary>What requests are validated against.</summary>
    public required RequestLimits Limits { get; init; }
}
