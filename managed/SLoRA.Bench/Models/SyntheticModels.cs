// Model shapes without weights: the config.json files of bench/models, carried inside this assembly.
using System.Reflection;

namespace SLoRA.Bench.Models;

internal static class SyntheticModels
{
    private const string Prefix = "models/";

    private static readonly Assembly s_assembly = typeof(SyntheticModels).Assembly;

    public static IReadOnlyList<string> Names { get; } =
        [.. s_assembly.GetManifestResourceNames().Where(name => name.StartsWith(Prefix, StringComparison.Ordinal)).Select(name => name[Prefix.Length..].Trim('/', '\\')).Order(StringComparer.Ordinal)];

    /// Options for a model of this shape with random weights. The folder it needs is written below the temporary one.
    public static ModelOptions Open(string name, ComputeDtype dtype, ulong seed = 1) => new() { Path = WriteFolder(name), Name = name, Dtype = dtype, Synthetic = true, SyntheticSeed = seed };

    /// The text of a shape's config.json.
    public static string ReadConfig(string name)
    {
        var resource = s_assembly.GetManifestResourceNames().FirstOrDefault(resource => resource.StartsWith(Prefix, StringComparison.Ordinal) && resource[Prefix.Length..].Trim('/', '\\') == name)
            ?? throw new ArgumentException($"--synthetic is '{name}'; the shapes are {string.Join(", ", Names)}");
        using var reader = new StreamReader(s_assembly.GetManifestResourceStream(resource)!);
        return reader.ReadToEnd();
    }

    // The process's own folder: another one running may have another text for the same name.
    private static string WriteFolder(string name)
    {
        var config = ReadConfig(name);
        var folder = Path.Combine(Path.GetTempPath(), $"slora-bench-{Environment.ProcessId}", name);
        Directory.CreateDirectory(folder);
        // In one step: an engine of this process may be reading it.
        var next = Path.Combine(folder, $"config.{Guid.NewGuid():n}");
        File.WriteAllText(next, config);
        File.Move(next, Path.Combine(folder, "config.json"), overwrite: true);
        return folder;
    }

    /// Removes the folders that this process wrote.
    public static void CleanUp()
    {
        var folder = Path.Combine(Path.GetTempPath(), $"slora-bench-{Environment.ProcessId}");
        if (Directory.Exists(folder))
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
