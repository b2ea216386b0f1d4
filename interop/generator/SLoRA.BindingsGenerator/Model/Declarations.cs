// The header as data: what libclang saw, in header order, before any C# decision.

namespace SLoRA.BindingsGenerator.Model;

internal sealed record FieldDecl(
    string Name, TypeRef Type, long OffsetBytes, long SizeBytes, bool IsBitField, string Comment);

internal sealed record StructDecl(
    string Name, IReadOnlyList<FieldDecl> Fields, long SizeBytes, string Comment, string Place)
{
    /// <summary>A struct that may grow: it says its own size.</summary>
    public bool IsVersioned => Fields is [{ Name: "struct_size" }, ..];
}

internal sealed record EnumConstantDecl(string Name, long Value, string Comment);

internal sealed record EnumDecl(string Name, IReadOnlyList<EnumConstantDecl> Constants, string Comment);

internal sealed record ParameterDecl(string Name, TypeRef Type);

internal sealed record FunctionDecl(
    string Name, TypeRef Result, IReadOnlyList<ParameterDecl> Parameters, string Comment, string Place);

internal sealed record CallbackDecl(string Name, FunctionTypeRef Type, string Comment);

internal sealed record MacroDecl(string Name, IReadOnlyList<string> Tokens);

/// <summary>Everything that slora.h declares, in the order in which it is declared.</summary>
internal sealed class HeaderModel
{
    public List<StructDecl> Structs { get; } = [];
    public List<string> OpaqueTypes { get; } = [];
    public List<EnumDecl> Enums { get; } = [];
    public List<FunctionDecl> Functions { get; } = [];
    public List<CallbackDecl> Callbacks { get; } = [];
    public List<MacroDecl> Macros { get; } = [];

    /// <summary>Files named by #include that do not lie beside our headers, e.g. "stdint.h".</summary>
    public List<string> ForeignIncludes { get; } = [];

    /// <summary>Things no binding can express, as "name: what it is".</summary>
    public List<string> Inexpressible { get; } = [];

    public StructDecl? FindStruct(string name) => Structs.Find(s => s.Name == name);

    public MacroDecl? FindMacro(string name) => Macros.Find(m => m.Name == name);

    /// <summary>The macro that initialises a struct: slora_error → SLORA_ERROR_INIT.</summary>
    public MacroDecl? InitMacroOf(StructDecl type) => FindMacro(type.Name.ToUpperInvariant() + "_INIT");
}
