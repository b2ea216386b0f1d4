// What only a server has a use for: adapters that come and go while it serves, and the memory that they may take. What is not
// given stays as configuration has it.
using System.CommandLine;

namespace SLoRA.Cli.Commands;

internal sealed class ServeArguments
{
    private readonly Option<bool> _watch = new("--watch") { Description = "Pick up new, changed and removed adapters of --adapters while serving." };
    private readonly Option<double?> _watchSeconds = new("--watch-seconds") { Description = "Seconds between two looks at the folder; default: 2." };
    private readonly Option<bool> _loadOnUse = new("--load-on-use") { Description = "Read an adapter's weights when a request names it; without it all are read at start." };
    private readonly Option<string?> _resolveDirectory = new("--resolve-directory") { Description = "Folder of adapter folders that is looked into only when a request names an unknown adapter." };
    private readonly Option<long?> _hostAdapterBytes = new("--host-adapter-bytes") { Description = "Bytes of adapters in host memory; those that nobody uses are dropped and read again. 0: no limit." };
    private readonly Option<string?> _eviction = new("--eviction") { Description = "Which resident adapter gives its pages up first: by reload cost and use, or the one used longest ago; default: cost." };

    public ServeArguments() => _eviction.AcceptOnlyFromAmong("cost", "lru");

    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { _watch, _watchSeconds, _loadOnUse, _resolveDirectory, _hostAdapterBytes, _eviction })
        {
            command.Options.Add(option);
        }
    }

    public void Fill(ParseResult parsed, SLoRAOptions options)
    {
        var adapters = options.Adapters;
        adapters.Watch |= parsed.GetValue(_watch);
        adapters.WatchSeconds = parsed.GetValue(_watchSeconds) ?? adapters.WatchSeconds;
        adapters.Loading = parsed.GetValue(_loadOnUse) ? AdapterLoading.OnUse : adapters.Loading;
        if (parsed.GetValue(_resolveDirectory) is { } folder)
        {
            adapters.ResolveDirectory = EngineArguments.RequireFolder(folder, "--resolve-directory");
        }

        options.Memory.HostAdapterBytes = parsed.GetValue(_hostAdapterBytes) ?? options.Memory.HostAdapterBytes;
        options.Memory.Eviction = parsed.GetValue(_eviction) switch { "cost" => AdapterEviction.Cost, "lru" => AdapterEviction.Lru, _ => options.Memory.Eviction };
        if (parsed.GetValue(_watch) && adapters.Directories.Count == 0)
        {
            throw new ArgumentException("--watch is given without --adapters; a folder to watch is needed");
        }
    }
}
