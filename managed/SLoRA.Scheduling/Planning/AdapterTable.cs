// The adapters that sequences name, or that are resident as far as the library's events told. Entries come with the
// first sequence and go when nobody names them and they are not resident, so the table follows use, not the catalogue.
namespace SLoRA.Scheduling.Planning;

internal sealed class AdapterTable
{
    private readonly Dictionary<ulong, AdapterUse> _uses = [];

    /// Pages of adapters that some sequence with a slot refers to: they cannot be evicted.
    public int HeldPages { get; private set; }

    public int Count => _uses.Count;

    public AdapterUse GetOrAdd(AdapterId id, int pages)
    {
        if (!_uses.TryGetValue(id.Value, out var use))
        {
            use = new AdapterUse(id.Value, pages);
            _uses.Add(id.Value, use);
        }

        return use;
    }

    public void Loaded(ulong id)
    {
        if (_uses.TryGetValue(id, out var use))
        {
            use.IsResident = true;
        }
    }

    public void Evicted(ulong id)
    {
        if (_uses.TryGetValue(id, out var use))
        {
            use.IsResident = false;
            ForgetIfUnused(use);
        }
    }

    public void Hold(ReadOnlySpan<AdapterUse> uses)
    {
        foreach (var use in uses)
        {
            HeldPages += use.NumHolders++ == 0 ? use.Pages : 0;
        }
    }

    public void Release(ReadOnlySpan<AdapterUse> uses)
    {
        foreach (var use in uses)
        {
            HeldPages -= --use.NumHolders == 0 ? use.Pages : 0;
            ForgetIfUnused(use);
        }
    }

    public void Unname(ReadOnlySpan<AdapterUse> uses)
    {
        foreach (var use in uses)
        {
            use.NumNamed--;
            ForgetIfUnused(use);
        }
    }

    private void ForgetIfUnused(AdapterUse use)
    {
        if (use.NumNamed == 0 && use.NumHolders == 0 && !use.IsResident)
        {
            _uses.Remove(use.Id);
        }
    }
}
