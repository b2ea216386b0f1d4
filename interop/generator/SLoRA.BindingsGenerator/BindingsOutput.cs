// Which files the generator owns, and how they are written and compared. Everything is a function of the headers alone.

using SLoRA.BindingsGenerator.Emit;
using SLoRA.BindingsGenerator.Model;

namespace SLoRA.BindingsGenerator;

internal static class BindingsOutput
{
    /// <summary>The generated files by path below interop/, in a fixed order.</summary>
    public static IReadOnlyList<(string Path, string Text)> Render(HeaderModel model)
    {
        BindingsEmitter bindings = new(model);
        LayoutEmitter layout = new(model);
        return
        [
            ("generated/AbiLayout.g.cs", layout.CSharp()),
            ("generated/NativeArrays.g.cs", bindings.Arrays()),
            ("generated/NativeConstants.g.cs", bindings.Constants()),
            ("generated/NativeEnums.g.cs", bindings.Enums()),
            ("generated/NativeMethods.g.cs", bindings.Functions()),
            ("generated/NativeStructs.g.cs", bindings.Structs()),
            ("generated/init_table.inc", layout.InitMacros()),
            ("generated/layout_table.inc", layout.XMacros()),
            ("abi/layout.golden", layout.Golden()),
            ("abi/exports.golden", layout.Exports()),
        ];
    }

    public static void Write(string interopDirectory, HeaderModel model, TextWriter output)
    {
        foreach ((string path, string text) in Render(model))
        {
            string file = Path.Combine(interopDirectory, path);
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            if (!File.Exists(file) || File.ReadAllText(file) != text)
            {
                File.WriteAllText(file, text);
                output.WriteLine($"wrote {path}");
            }
        }
    }

    /// <summary>One line a file that differs from the headers: its first difference, or that it is missing or left over.</summary>
    public static IReadOnlyList<string> Differences(string interopDirectory, HeaderModel model)
    {
        IReadOnlyList<(string Path, string Text)> rendered = Render(model);
        HashSet<string> owned = [.. rendered.Select(f => f.Path)];
        string generated = Path.Combine(interopDirectory, "generated");
        IEnumerable<string> leftOver = Directory.Exists(generated)
            ? Directory.GetFiles(generated).Select(f => $"generated/{Path.GetFileName(f)}").Where(f => !owned.Contains(f))
            : [];
        return
        [
            .. rendered.Select(f => Difference(Path.Combine(interopDirectory, f.Path), f.Path, f.Text)).OfType<string>(),
            .. leftOver.Order(StringComparer.Ordinal).Select(f => $"{f}: not written by the generator"),
        ];
    }

    private static string? Difference(string file, string path, string expected)
    {
        if (!File.Exists(file))
        {
            return $"{path}: missing";
        }

        string actual = File.ReadAllText(file);
        if (actual == expected)
        {
            return null;
        }

        string[] have = actual.Split('\n');
        string[] want = expected.Split('\n');
        int line = Enumerable.Range(0, Math.Max(have.Length, want.Length))
            .First(i => i >= have.Length || i >= want.Length || have[i] != want[i]);
        return $"{path}:{line + 1}: has '{have.ElementAtOrDefault(line)?.Trim()}', " +
               $"the headers give '{want.ElementAtOrDefault(line)?.Trim()}'";
    }
}
