// Whether one more sequence can be admitted. Three rules:
//   - a slot and a row are left;
//   - the pages of its whole known history and of its adapters fit beside what running sequences are still promised,
//     and one page a running sequence is kept back so that decoding does not preempt at once what was just admitted;
//   - whatever happens, the oldest sequence can end: the adapters of all sequences with a slot, which cannot be evicted,
//     leave room for the longest of them. Preemption frees KV pages but not adapter references, so without this rule
//     many cold adapters could fill the pool for good.
using SLoRA.Scheduling.Planning;

namespace SLoRA.Scheduling.Admission;

internal readonly struct AdmissionRoom
{
    public required int FreeSlots { get; init; }

    public required int FreeRows { get; init; }

    public required int AvailablePages { get; init; }

    public required int ReservePages { get; init; }

    public required int HeldAdapterPages { get; init; }

    public required int LongestPages { get; init; }

    public required int TokensPerPage { get; init; }

    public required int TotalPages { get; init; }

    /// Nobody runs and nothing is in flight: the pages are as free as they will ever be, so estimates do not count.
    public required bool IsIdle { get; init; }

    public bool Fits(ScheduledSequence sequence)
    {
        var hasSlot = sequence.HasSlot || FreeSlots > 0;
        return hasSlot && FreeRows > 0 && FitsNow(sequence) && (IsIdle || CanEnd(sequence));
    }

    private bool FitsNow(ScheduledSequence sequence) =>
        IsIdle || PagesToStart(sequence, TokensPerPage) + ReservePages <= AvailablePages;

    private bool CanEnd(ScheduledSequence sequence)
    {
        var longest = Math.Max(LongestPages, PageBudget.PagesFor(sequence.MaxTokens, TokensPerPage));
        return HeldAdapterPages + PageBudget.AdapterPagesToHold(sequence) + longest <= TotalPages;
    }

    public static int PagesToStart(ScheduledSequence sequence, int tokensPerPage) =>
        PageBudget.PagesFor(sequence.NumTokens, tokensPerPage) + PageBudget.AdapterPagesToHold(sequence);
}
