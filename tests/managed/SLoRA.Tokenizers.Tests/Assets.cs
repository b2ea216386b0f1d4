// Finds the files of the repository that tests read, and reads goldens.

using System.Text;
using System.Text.Json;

namespace SLoRA.Tokenizers.Tests;

internal static class Assets
{
    internal static string Root { get; } = FindRoot();

    internal static string DemoBase { get; } = Path.Combine(Root, "assets", "demo-model", "base");

    internal static string DemoChatAdapter { get; } = Path.Combine(Root, "assets", "demo-model", "adapters", "chat");

    internal static string Demo(string path) => Path.Combine(Root, "assets", "demo-model", path);

    internal static string Tiny(string name) => Path.Combine(Root, "assets", "tiny-models", name);

    internal static JsonElement ReadData(string name) =>
        ReadJson(Path.Combine(Root, "tests", "managed", "SLoRA.Tokenizers.Tests", "Data", name));

    internal static JsonElement ReadJson(string file)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(file));
        return document.RootElement.Clone();
    }

    internal static int[] Ints(this JsonElement array) => [.. array.EnumerateArray().Select(item => item.GetInt32())];

    internal static string[] Strings(this JsonElement array) => [.. array.EnumerateArray().Select(item => item.GetString()!)];

    // The goldens count code points, the API UTF-16 units.
    internal static int CodePoints(string text, int utf16Position) => text[..utf16Position].EnumerateRunes().Count();

    private static string FindRoot()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "SLoRA.sln")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName ?? throw new InvalidOperationException("SLoRA.sln is in no folder above the tests");
    }
}
