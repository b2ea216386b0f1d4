// Loads many adapters, several at a time, and tells how far it is.
using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace SLoRA.Engine.Catalog;

internal sealed class DirectoryLoader(
    List<RegisteredAdapter> adapters, List<AdapterFailure> failures, Func<AdapterSource, IProgress<LoadProgress>?, CancellationToken, Task<AdapterInfo>> load, IProgress<LoadProgress>? progress, ILogger logger)
{
    private readonly ConcurrentBag<AdapterFailure> _failures = [.. failures];
    private int _done;

    /// Those that were not loaded, with the reason of each, in the order of names.
    public async Task<IReadOnlyList<AdapterFailure>> LoadAsync(bool strict, CancellationToken ct)
    {
        foreach (var failure in failures)
        {
            EngineLog.AdapterFailed(logger, failure.Name, failure.Reason);
        }

        await Parallel.ForEachAsync(adapters, ct, async (adapter, token) =>
        {
            try
            {
                await load(adapter.Source, null, token).ConfigureAwait(false);
            }
            catch (SLoRAException error) when (!strict && !error.IsFatal)
            {
                EngineLog.AdapterFailed(logger, adapter.Name, error.Message);
                _failures.Add(new AdapterFailure(adapter.Name, adapter.Source.Path, error.Message));
            }

            progress?.Report(new LoadProgress(adapter.Name, Interlocked.Increment(ref _done), adapters.Count));
        }).ConfigureAwait(false);
        progress?.Report(new LoadProgress(string.Empty, adapters.Count, adapters.Count));
        return [.. _failures.OrderBy(failure => failure.Name, StringComparer.Ordinal)];
    }
}
