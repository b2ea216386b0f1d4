// What the scheduler knows of one adapter revision: its size, who holds it, and whether it is resident as far as the
// residency events told. Shared by the sequences that name it.
namespace SLoRA.Scheduling.Planning;

internal sealed class AdapterUse(ulong id, int pages)
{
    public ulong Id { get; } = id;

    public int Pages { get; } = pages;

    /// Sequences with a native reference on it: admitted once and not yet gone. Their pages cannot be counted on.
    public int NumHolders { get; set; }

    /// Sequences known to the scheduler in any phase; at 0 a non-resident entry is forgotten.
    public int NumNamed { get; set; }

    /// The library said so, and has not said since that it was evicted.
    public bool IsResident { get; set; }

    /// The last plan that counted this adapter: counts each once a plan without a set.
    public ulong SeenByPlan { get; set; }

    /// The last plan that named this adapter as needed soon.
    public ulong WantedByPlan { get; set; }
}
