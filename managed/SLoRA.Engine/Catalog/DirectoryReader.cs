// Reads the configurations of a folder of adapter folders, on all processors.
using System.Collections.Concurrent;

namespace SLoRA.Engine.Catalog;

internal sealed class DirectoryReader(AdapterCatalog catalog, string directory, bool strict, IProgress<LoadProgress>? progress)
{
    private int _done;

    /// What can be registered, in the order of names, and what cannot.
    public async Task<(List<RegisteredAdapter> Adapters, List<AdapterFailure> Failures)> ReadAsync(CancellationToken ct)
    {
        var found = Folders(directory);
        var adapters = new RegisteredAdapter?[found.Length];
        var failures = new ConcurrentBag<AdapterFailure>();
        await Parallel.ForAsync(0, found.Length, ct, (i, _) =>
        {
            var name = Path.GetFileName(found[i]);
            try
            {
                var adapter = catalog.ReadConfig(new AdapterSource(name, found[i]));
                catalog.RefuseTaken(name, replace: false);
                adapters[i] = adapter;
            }
            catch (SLoRAException error) when (!strict)
            {
                failures.Add(new AdapterFailure(name, found[i], error.Message));
            }

            progress?.Report(new LoadProgress(name, Interlocked.Increment(ref _done), found.Length));
            return ValueTask.CompletedTask;
        }).ConfigureAwait(false);
        return ([.. adapters.OfType<RegisteredAdapter>()], [.. failures.OrderBy(failure => failure.Name, StringComparer.Ordinal)]);
    }

    /// <exception cref="AdapterIncompatibleException">It is not a folder.</exception>
    public static string[] Folders(string directory)
    {
        if (!Directory.Exists(directory))
        {
            throw new AdapterIncompatibleException($"'{directory}' is not a folder");
        }

        return [.. Directory.EnumerateDirectories(Path.TrimEndingDirectorySeparator(directory)).Where(AdapterFolder.IsOne).Order(StringComparer.Ordinal)];
    }
}
