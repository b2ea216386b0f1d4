// The sizes an engine was made with, as the library published them.
namespace SLoRA.Engine.Native;

internal sealed record NativeGeometry
{
    public required int TokensPerPage { get; init; }

    public required int NumPages { get; init; }

    public required long PageBytes { get; init; }

    public required int MaxSequences { get; init; }

    public required int MaxBatchTokens { get; init; }

    public required int MaxBatchRows { get; init; }

    public required int MaxContext { get; init; }

    public required int VocabSize { get; init; }

    public required int MaxLogprobs { get; init; }
}
