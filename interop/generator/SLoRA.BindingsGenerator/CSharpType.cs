// C types to blittable C# types. Fails on what the ABI sheet forbids instead of guessing a width.

using SLoRA.BindingsGenerator.Model;

namespace SLoRA.BindingsGenerator;

internal sealed class CSharpType(HeaderModel model)
{
    /// <summary>The fixed-width names that the ABI allows, and their C# twins.</summary>
    public static readonly IReadOnlyDictionary<string, string> Primitives = new Dictionary<string, string>
    {
        ["uint8_t"] = "byte",
        ["int8_t"] = "sbyte",
        ["uint16_t"] = "ushort",
        ["int16_t"] = "short",
        ["uint32_t"] = "uint",
        ["int32_t"] = "int",
        ["uint64_t"] = "ulong",
        ["int64_t"] = "long",
        ["float"] = "float",
        ["double"] = "double",
        ["char"] = "byte", // UTF-8
        ["void"] = "void",
    };

    public string Of(TypeRef type) => type switch
    {
        NamedTypeRef named => OfNamed(named.Name),
        PointerTypeRef { Pointee: FunctionTypeRef function } => OfFunction(function),
        PointerTypeRef pointer => Of(pointer.Pointee) + "*",
        ArrayTypeRef array => OfArray(array),
        _ => throw new GeneratorException($"no C# type for {type}"),
    };

    /// <summary>The name of the inline array type of a fixed array.</summary>
    public string OfArray(ArrayTypeRef array) => array.Element switch
    {
        NamedTypeRef { Name: "char" } => $"Utf8Text{array.Count}",
        NamedTypeRef named => char.ToUpperInvariant(OfNamed(named.Name)[0]) + OfNamed(named.Name)[1..] + $"Array{array.Count}",
        _ => throw new GeneratorException($"no C# type for {array}"),
    };

    /// <summary>Whether values of the type hold an address, and so stay inside the bindings' assembly.</summary>
    public bool HoldsPointer(TypeRef type) => type switch
    {
        PointerTypeRef => true,
        ArrayTypeRef array => HoldsPointer(array.Element),
        NamedTypeRef named => model.FindStruct(named.Name) is { } inner && HoldsPointer(inner),
        _ => true,
    };

    public bool HoldsPointer(StructDecl type) => type.Fields.Any(f => HoldsPointer(f.Type));

    private string OfNamed(string name)
    {
        if (Primitives.TryGetValue(name, out string? primitive))
        {
            return primitive;
        }

        if (model.Callbacks.Find(c => c.Name == name) is { } callback)
        {
            return OfFunction(callback.Type);
        }

        return model.OpaqueTypes.Contains(name) ? CSharpName.OfOpaque(name)
            : model.FindStruct(name) is not null ? CSharpName.OfStruct(name)
            : throw new GeneratorException($"no C# type for '{name}': the ABI allows {string.Join(", ", Primitives.Keys)}");
    }

    private string OfFunction(FunctionTypeRef function) =>
        $"delegate* unmanaged[Cdecl]<{string.Join(", ", function.Parameters.Append(function.Result).Select(Of))}>";
}
