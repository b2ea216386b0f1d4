// A completion or chat request as the API means it: what to generate and how to answer.
namespace SLoRA.Server.Reading;

internal sealed record ApiRequest
{
    public required bool IsChat { get; init; }

    /// As the client named it; the answer repeats it.
    public required string Model { get; init; }

    /// One a prompt, equal but for it.
    public required IReadOnlyList<GenerationRequest> Generations { get; init; }

    public bool Stream { get; init; }

    public bool IncludeUsage { get; init; }

    public bool ReturnTokenIds { get; init; }

    public int NumChoices => Generations[0].NumChoices;

    public bool HasLogprobs => Generations[0].Sampling.NumLogprobs is not null;
}
