// Adapters by name from a folder, looked at only when they are asked for.
namespace SLoRA;

/// <summary>Finds adapters in a folder of PEFT folders: the adapter <c>a/b</c> is the folder <c>a/b</c> below it.</summary>
public sealed class FileSystemAdapterResolver : IAdapterResolver
{
    private readonly string _root;

    /// <summary>Creates a resolver.</summary>
    /// <param name="directory">The folder of folders.</param>
    /// <exception cref="DirectoryNotFoundException">It is not a folder.</exception>
    public FileSystemAdapterResolver(string directory)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(directory);
        _root = Path.TrimEndingDirectorySeparator(Path.GetFullPath(directory)) + Path.DirectorySeparatorChar;
        if (!Directory.Exists(_root))
        {
            throw new DirectoryNotFoundException($"'{directory}' is not a folder");
        }
    }

    /// <inheritdoc/>
    public ValueTask<AdapterSource?> ResolveAsync(string name, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(name);

        // A name may have dots and slashes: what leads out of the folder is no adapter's.
        var path = Path.GetFullPath(Path.Combine(_root, name));
        var isOne = path.StartsWith(_root, StringComparison.Ordinal) && File.Exists(Path.Combine(path, "adapter_config.json"));
        return ValueTask.FromResult(isOne ? new AdapterSource(name, path) : null);
    }
}
