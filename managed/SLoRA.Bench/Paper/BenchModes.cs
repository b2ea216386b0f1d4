// The systems that the paper compares, as changes of an engine's options.
namespace SLoRA.Bench.Paper;

internal static class BenchModes
{
    public const string Default = "default";

    private static readonly Dictionary<string, Action<SLoRAOptions>> s_modes = new()
    {
        [Default] = _ => { },
    };

    public static IEnumerable<string> Names => s_modes.Keys;

    /// Throws ArgumentException with the name and those that there are.
    public static void Apply(string mode, SLoRAOptions options)
    {
        if (!s_modes.TryGetValue(mode, out var apply))
        {
            throw new ArgumentException($"there is no mode '{mode}'; the modes are {string.Join(", ", Names)}");
        }

        apply(options);
    }
}
