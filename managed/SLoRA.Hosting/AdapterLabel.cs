// Adapter names as a metric's label: the first so many get their own, the rest share "other". Without a cap thousands of
// adapters would make thousands of time series an instrument.
using System.Collections.Concurrent;

namespace SLoRA.Hosting;

internal sealed class AdapterLabel(int capacity)
{
    public const string Other = "other";

    private readonly ConcurrentDictionary<string, bool> _known = new(StringComparer.Ordinal);

    public string For(string name)
    {
        if (_known.ContainsKey(name))
        {
            return name;
        }

        // Two names may slip past the count at once: the cap is there for the order of magnitude.
        return _known.Count < capacity && _known.TryAdd(name, true) ? name : Other;
    }
}
