// The traces of the evaluation, by name: made where they are needed, to the bit as the files of these names.
namespace SLoRA.Bench.Traces;

internal static class NamedTraces
{
    private static readonly Dictionary<string, TraceSpec> s_specs = new()
    {
        ["paper-n1-r10"] = new(1, 10, 120),
        ["paper-n5-r10"] = new(5, 10, 120),
        ["paper-n100-r10"] = new(100, 10, 120),
        ["paper-n1000-r10"] = new(1000, 10, 120),
        ["paper-n2000-r10"] = new(2000, 10, 120),
        ["paper-n200-r2"] = new(200, 2, 300),
        ["paper-n400-r6"] = new(400, 6, 300),
        ["saturate-n1-r60"] = new(1, 60, 60),
        ["saturate-n5-r60"] = new(5, 60, 60),
        ["saturate-n100-r60"] = new(100, 60, 60),
        ["saturate-n200-r60"] = new(200, 60, 60),
        ["saturate-n1000-r60"] = new(1000, 60, 60),
        ["saturate-n2000-r60"] = new(2000, 60, 60),
        ["saturate-n10000-r60"] = new(10000, 60, 60),
        ["skew-n1000-a0.3-r60"] = new(1000, 60, 60, Alpha: 0.3),
        ["burst-n200-cv6-r10"] = new(200, 10, 120, Cv: 6),
    };

    public static IEnumerable<string> Names => s_specs.Keys;

    public static TraceSpec? Find(string name) => s_specs.GetValueOrDefault(name);

    /// A trace by name, else the file of that path.
    public static Trace Open(string nameOrPath) =>
        Find(nameOrPath) is { } spec ? TraceGenerator.Generate(spec) with { Name = nameOrPath } : TraceFile.Read(nameOrPath);
}
