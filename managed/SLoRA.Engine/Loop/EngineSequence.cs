// One choice of a request inside the loop.
using SLoRA.Engine.Native;
using SLoRA.Scheduling.Planning;

namespace SLoRA.Engine.Loop;

internal sealed class EngineSequence(SequenceId id, RequestTicket ticket, int choiceIndex, AdapterUse[] adapters)
    : ScheduledSequence(id, ticket.PromptTokens.Length, ticket.MaxTokens, adapters)
{
    public RequestTicket Ticket { get; } = ticket;

    public int ChoiceIndex { get; } = choiceIndex;

    public int NumSampled { get; set; }

    /// It was admitted at least once, so it no longer counts as waiting in the bounded queue.
    public bool WasAdmitted { get; set; }

    public SequenceStart ToStart() =>
        new(Id.Value, Ticket.PromptTokens, MaxTokens, Ticket.Adapters, Ticket.Sampling, unchecked(Ticket.Seed + (ulong)ChoiceIndex));

    public bool IsStop(int tokenId) => Ticket.StopTokenIds.AsSpan().Contains(tokenId);
}
