// All page estimates of the managed side, in one place. They rest on two published numbers (tokens a page, pages of an
// adapter) and on the pool's counters; where pages are, and what is truly free, is the library's business. An estimate
// that is wrong costs a deferred step, never a wrong result.
namespace SLoRA.Scheduling.Planning;

internal struct PageBudget(int tokensPerPage, PoolState pool)
{
    private readonly int _tokensPerPage = tokensPerPage;

    /// Pages that this plan may still take: free ones and those of idle adapters.
    public int Available { get; private set; } = pool.FreePages + pool.EvictablePages;

    public static int PagesFor(int tokens, int tokensPerPage) => (tokens + tokensPerPage - 1) / tokensPerPage;

    public readonly int PagesHeld(ScheduledSequence sequence) => PagesFor(sequence.NumComputed, _tokensPerPage);

    /// Pages that computing `numTokens` more takes beyond those it holds.
    public readonly int PagesToGrow(ScheduledSequence sequence, int numTokens) =>
        PagesFor(sequence.NumComputed + numTokens, _tokensPerPage) - PagesHeld(sequence);

    /// Pages that the rest of its known history takes beyond those it holds.
    public readonly int PagesPromised(ScheduledSequence sequence) => PagesToGrow(sequence, sequence.RemainingTokens);

    /// The most tokens, up to `numTokens`, that fit beside `numPages` further pages.
    public readonly int TokensThatFit(ScheduledSequence sequence, int numTokens)
    {
        var room = (PagesHeld(sequence) + Math.Max(Available, 0)) * (long)_tokensPerPage - sequence.NumComputed;
        return (int)Math.Clamp(room, 0, numTokens);
    }

    public bool TryTake(int pages)
    {
        if (pages > Available)
        {
            return false;
        }

        Available -= pages;
        return true;
    }

    public void Give(int pages) => Available += pages;

    /// Pages of the adapters of a sequence that are not held by others: taking them up either loads them into new pages
    /// or removes them from the evictable ones. Both cost the same.
    public static int AdapterPagesToHold(ScheduledSequence sequence)
    {
        var pages = 0;
        foreach (var adapter in sequence.Adapters)
        {
            pages += adapter.NumHolders == 0 ? adapter.Pages : 0;
        }

        return pages;
    }
}
