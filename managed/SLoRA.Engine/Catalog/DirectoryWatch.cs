// Keeps the catalogue like a folder of adapter folders: new, changed and removed ones are picked up. It looks again and
// again instead of being told, which works on network disks and bind mounts too and costs two stats a folder.
//
// What is new or changed is taken when two looks in a row see the same files, and its weights are as long as their header
// says: a copy under way is looked at again, not refused. What fails although it is whole is named once in the log.
using Microsoft.Extensions.Logging;

namespace SLoRA.Engine.Catalog;

internal sealed class DirectoryWatch(AdapterCatalog catalog, string directory, TimeSpan period, TimeProvider time, ILogger logger) : IAsyncDisposable
{
    private readonly string _directory = Path.TrimEndingDirectorySeparator(directory);
    private readonly CancellationTokenSource _stop = new();
    private readonly Dictionary<string, FolderStamp> _unsettled = new(StringComparer.Ordinal);
    private readonly Dictionary<string, FolderStamp> _refused = new(StringComparer.Ordinal);
    private readonly HashSet<string> _incomplete = new(StringComparer.Ordinal);
    private Task _loop = Task.CompletedTask;

    public void Start() => _loop = Task.Run(RunAsync);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stop.Dispose();
    }

    /// One look.
    public void Look()
    {
        string[] folders;
        try
        {
            folders = DirectoryReader.Folders(_directory);
        }
        catch (Exception error) when (error is SLoRAException or IOException or UnauthorizedAccessException)
        {
            // Unmounted or being moved: what is served goes on being served.
            EngineLog.WatchFailed(logger, _directory, error.Message);
            return;
        }

        var known = catalog.In(_directory);
        foreach (var folder in folders)
        {
            var name = Path.GetFileName(folder);
            var stamp = AdapterFolder.StampOf(folder);
            if (known.Remove(name, out var adapter) && adapter.Stamp == stamp)
            {
                _unsettled.Remove(name);
            }
            else if (!_refused.TryGetValue(name, out var refused) || refused != stamp)
            {
                TakeIfSettled(name, folder, stamp);
            }
        }

        foreach (var gone in known.Keys)
        {
            _unsettled.Remove(gone);
            _ = catalog.UnloadAsync(gone, UnloadMode.Detach);
        }
    }

    private void TakeIfSettled(string name, string folder, FolderStamp stamp)
    {
        var isSettled = _unsettled.TryGetValue(name, out var before) && before == stamp;
        _unsettled[name] = stamp;
        if (!isSettled)
        {
            return;
        }

        if (!AdapterFolder.IsWhole(folder))
        {
            if (_incomplete.Add(name))
            {
                EngineLog.AdapterIncomplete(logger, name, folder);
            }

            return;
        }

        _incomplete.Remove(name);

        _unsettled.Remove(name);
        try
        {
            var ours = FindOurs(name);
            var info = catalog.Register(new AdapterSource(name, folder) { Replace = ours is not null, Pinned = ours?.Pinned ?? false });
            EngineLog.AdapterRegistered(logger, info.Name, folder);
        }
        catch (SLoRAException error)
        {
            _refused[name] = stamp;
            EngineLog.AdapterFailed(logger, name, error.Message);
        }
    }

    // A name that somebody else has given to another folder stays theirs.
    private AdapterInfo? FindOurs(string name) => catalog.Find(name) is { } info && AdapterFolder.IsOf(_directory, name, info.Path) ? info : null;

    private async Task RunAsync()
    {
        using var timer = new PeriodicTimer(period, time);
        while (await timer.WaitForNextTickAsync(_stop.Token).ConfigureAwait(false))
        {
            try
            {
                Look();
            }
#pragma warning disable CA1031 // whatever it is, the folder is followed on
            catch (Exception error)
#pragma warning restore CA1031
            {
                EngineLog.LookFailed(logger, _directory, error);
            }
        }
    }
}
