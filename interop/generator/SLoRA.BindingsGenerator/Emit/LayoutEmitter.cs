// Struct layouts in the three forms that are compared with each other: C# (what the bindings expect and what the runtime
// makes of them), text (the golden a reviewer reads) and an X-macro list (what the C++ compiler makes of the headers).

using SLoRA.BindingsGenerator.Model;

namespace SLoRA.BindingsGenerator.Emit;

internal sealed class LayoutEmitter(HeaderModel model)
{
    private readonly CSharpType _types = new(model);

    public string CSharp() => BindingsEmitter.File(w =>
    {
        w.Line();
        w.Line("/// <summary>The struct layouts of the ABI: as the headers have them, and as this runtime lays them out.</summary>");
        w.Block("public static class AbiLayout", () =>
        {
            EmitExpected(w);
            w.Line();
            EmitMeasure(w);
        });
    });

    /// <summary>One line a struct ("slora_error 1024") and a field ("  status 4 4": offset, size).</summary>
    public string Golden()
    {
        CodeWriter w = new();
        w.Line("# struct bytes, then a line a field: name offset bytes. Written by interop/generator.");
        foreach (StructDecl type in model.Structs)
        {
            w.Line($"{type.Name} {type.SizeBytes}");
            foreach (FieldDecl field in type.Fields)
            {
                w.Line($"  {field.Name} {field.OffsetBytes} {field.SizeBytes}");
            }
        }

        return w.ToString();
    }

    public string XMacros()
    {
        CodeWriter w = new();
        w.Line("/* Every struct and field of the ABI with its size and offset, for the library's own layout table and for the");
        w.Line(" * static_asserts of tests/abi. Define both macros before including. Written by interop/generator. */");
        foreach (StructDecl type in model.Structs)
        {
            w.Line($"SLORA_LAYOUT_STRUCT({type.Name}, {type.SizeBytes})");
            foreach (FieldDecl field in type.Fields)
            {
                w.Line($"SLORA_LAYOUT_FIELD({type.Name}, {field.Name}, {field.OffsetBytes}, {field.SizeBytes})");
            }
        }

        return w.ToString();
    }

    public string InitMacros()
    {
        CodeWriter w = new();
        w.Line("/* Every versioned struct with its INIT macro, for tests/abi. Define SLORA_INIT before including. Written by");
        w.Line(" * interop/generator. */");
        foreach (StructDecl type in model.Structs)
        {
            if (model.InitMacroOf(type) is { } macro)
            {
                w.Line($"SLORA_INIT({type.Name}, {macro.Name})");
            }
        }

        return w.ToString();
    }

    /// <summary>The symbols that the library must export, and no others.</summary>
    public string Exports() =>
        string.Concat(model.Functions.Select(f => f.Name).Order(StringComparer.Ordinal).Select(n => n + "\n"));

    private void EmitExpected(CodeWriter w)
    {
        w.Line("/// <summary>The layouts in the headers; field is null in the row of a struct itself.</summary>");
        w.Line("public static IReadOnlyList<AbiLayoutRow> Expected { get; } =");
        w.Line("[");
        foreach (StructDecl type in model.Structs)
        {
            w.Line($"    new(\"{type.Name}\", null, 0, {type.SizeBytes}),");
            foreach (FieldDecl field in type.Fields)
            {
                w.Line($"    new(\"{type.Name}\", \"{field.Name}\", {field.OffsetBytes}, {field.SizeBytes}),");
            }
        }

        w.Line("];");
    }

    private void EmitMeasure(CodeWriter w)
    {
        w.Line("/// <summary>The same rows, measured on the C# structs of this process.</summary>");
        w.Line("/// <returns>The rows in the order of <see cref=\"Expected\"/>.</returns>");
        w.Block("public static unsafe IReadOnlyList<AbiLayoutRow> Measure()", () =>
        {
            w.Line("List<AbiLayoutRow> rows = [];");
            foreach (StructDecl type in model.Structs)
            {
                EmitMeasureStruct(w, type);
            }

            w.Line("return rows;");
        });
    }

    private void EmitMeasureStruct(CodeWriter w, StructDecl type) => w.Block("", () =>
    {
        string structName = CSharpName.OfStruct(type.Name);
        w.Line($"{structName} value = default;");
        w.Line("byte* start = (byte*)&value;");
        w.Line($"rows.Add(new(\"{type.Name}\", null, 0, (ulong)sizeof({structName})));");
        foreach (FieldDecl field in type.Fields)
        {
            string offset = $"(ulong)((byte*)&value.{CSharpName.OfField(field.Name)} - start)";
            w.Line($"rows.Add(new(\"{type.Name}\", \"{field.Name}\", {offset}, (ulong)sizeof({_types.Of(field.Type)})));");
        }
    });
}
