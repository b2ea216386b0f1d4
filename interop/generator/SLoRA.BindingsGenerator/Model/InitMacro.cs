// Reads SLORA_X_INIT: one initialiser a field, in field order. Yields the C# value of each field that is not zero; the
// rest is what a new C# struct has anyway.

using System.Globalization;

namespace SLoRA.BindingsGenerator.Model;

internal static class InitMacro
{
    /// <summary>(field, C# expression) of every field whose default is not zero, struct_size excepted.</summary>
    public static IReadOnlyList<(FieldDecl Field, string Value)> NonZeroDefaults(
        HeaderModel model, StructDecl type, MacroDecl macro)
    {
        List<List<string>> elements = SplitElements(type, macro);
        if (elements.Count != type.Fields.Count)
        {
            throw new GeneratorException(
                $"{macro.Name} has {elements.Count} initialisers, {type.Name} has {type.Fields.Count} fields");
        }

        RequireSizeFirst(type, macro, elements[0]);
        return [.. type.Fields.Zip(elements).Skip(1)
            .Select(pair => (pair.First, Value: ValueOf(model, pair.First, pair.Second, macro)))
            .Where(pair => pair.Value is not null)
            .Select(pair => (pair.First, pair.Value!))];
    }

    private static void RequireSizeFirst(StructDecl type, MacroDecl macro, List<string> element)
    {
        if (string.Concat(element) != $"(uint32_t)sizeof({type.Name})")
        {
            throw new GeneratorException($"{macro.Name} must begin with (uint32_t)sizeof({type.Name})");
        }
    }

    // The top-level commas of "{a, (b), {c, d}}" part the elements.
    private static List<List<string>> SplitElements(StructDecl type, MacroDecl macro)
    {
        if (macro.Tokens is not ["{", .., "}"])
        {
            throw new GeneratorException($"{macro.Name} ({type.Name}) is not of the form {{...}}");
        }

        List<List<string>> elements = [[]];
        int depth = 0;
        foreach (string token in macro.Tokens.Skip(1).SkipLast(1))
        {
            depth += token is "{" or "(" ? 1 : token is "}" or ")" ? -1 : 0;
            if (token == "," && depth == 0)
            {
                elements.Add([]);
            }
            else
            {
                elements[^1].Add(token);
            }
        }

        return elements;
    }

    private static string? ValueOf(HeaderModel model, FieldDecl field, List<string> tokens, MacroDecl macro)
    {
        if (tokens is ["NULL"] or ["{", "0", "}"])
        {
            return null;
        }

        if (field.Type is NamedTypeRef named && model.FindStruct(named.Name) is { } inner)
        {
            return tokens is [var name] && model.InitMacroOf(inner)?.Name == name
                ? $"{CSharpName.OfStruct(inner.Name)}.Create()"
                : throw new GeneratorException($"{macro.Name}: {field.Name} must be initialised by its own INIT macro");
        }

        ConstantValue value = ConstantExpression.TryEvaluate(model, tokens)
            ?? throw new GeneratorException($"{macro.Name}: cannot evaluate '{string.Join(' ', tokens)}' of {field.Name}");
        return value.Value == 0 ? null : value.Value.ToString(CultureInfo.InvariantCulture) + (value.IsFloat ? "f" : "");
    }
}
