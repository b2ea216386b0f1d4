// The modules of a mask by name, and back.
namespace SLoRA.Bench.Adapters;

internal static class ModuleNames
{
    private static readonly string[] s_names = ["q", "k", "v", "o", "gate", "up", "down"];

    /// "q,k,v,o"; "all" for 0.
    public static string Of(uint mask) => mask == 0 ? "all" : string.Join(',', s_names.Where((_, i) => (mask & (1u << i)) != 0));

    /// The mask of "q,k,v,o" or "all". Throws with the name that there is not.
    public static uint Parse(string text)
    {
        if (text == "all")
        {
            return 0;
        }

        var mask = 0u;
        foreach (var name in text.Split(',', StringSplitOptions.TrimEntries))
        {
            var index = Array.IndexOf(s_names, name);
            mask |= index >= 0 ? 1u << index : throw new ArgumentException($"--modules has '{name}'; the modules are {string.Join(", ", s_names)}, or all");
        }

        return mask;
    }
}
