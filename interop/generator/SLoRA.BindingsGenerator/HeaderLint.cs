// The C ABI sheet as rules: what a reader of the headers may rely on, proven for every export and struct. Each rule gives
// lines "place: name: what is wrong".

using System.Text.RegularExpressions;
using SLoRA.BindingsGenerator.Model;

namespace SLoRA.BindingsGenerator;

internal sealed partial class HeaderLint(HeaderModel model)
{
    private static readonly string[] s_threads = ["any", "engine", "setup"];
    private static readonly string[] s_tags = ["thread", "blocks", "return"];
    private static readonly string[] s_systemIncludes = ["stdint.h", "stddef.h"];

    public static IReadOnlyList<string> Run(HeaderModel model) => new HeaderLint(model).Findings();

    private IReadOnlyList<string> Findings() =>
    [
        .. model.Inexpressible,
        .. model.ForeignIncludes.Where(i => !s_systemIncludes.Contains(i)).Select(i => $"#include \"{i}\": only stdint.h and stddef.h"),
        .. model.Functions.SelectMany(f => FunctionFindings(f).Select(m => $"{f.Place}: {f.Name}: {m}")),
        .. model.Structs.SelectMany(s => StructFindings(s).Select(m => $"{s.Place}: {s.Name}: {m}")),
    ];

    private IEnumerable<string> FunctionFindings(FunctionDecl function)
    {
        CommentText comment = CommentText.Parse(function.Comment);
        return DocumentationFindings(function, comment)
            .Concat(StatusFindings(function, comment))
            .Concat(SignatureFindings(function));
    }

    private static IEnumerable<string> DocumentationFindings(FunctionDecl function, CommentText comment)
    {
        if (!function.Name.StartsWith("slora_", StringComparison.Ordinal))
        {
            yield return "name must begin with slora_";
        }

        if (comment.Paragraphs.Count == 0)
        {
            yield return "no sentence says what it does";
        }

        string[] threads = [.. comment.Tags.Where(t => t.Tag == "thread").Select(t => t.Text)];
        if (threads.Length != 1 || !s_threads.Contains(threads[0]))
        {
            yield return $"needs exactly one @thread any|engine|setup, has [{string.Join(", ", threads)}]";
        }

        foreach ((string tag, _) in comment.Tags.Where(t => !s_tags.Contains(t.Tag)))
        {
            yield return $"unknown tag @{tag}";
        }
    }

    private IEnumerable<string> StatusFindings(FunctionDecl function, CommentText comment)
    {
        bool isFallible = function.Result is NamedTypeRef { Name: "int32_t" } || IsHandle(function.Result);
        string? result = comment.TagText("return");
        if (isFallible && (result is null || !StatusName().IsMatch(result)))
        {
            yield return "returns a status or a handle: @return must name its statuses";
        }

        if (isFallible && function.Parameters is not [.., { Type: PointerTypeRef { Pointee: NamedTypeRef { Name: "slora_error" } } }])
        {
            yield return "returns a status or a handle: its last parameter must be slora_error*";
        }

        HashSet<string> known = [.. model.Enums.SelectMany(e => e.Constants).Select(c => c.Name),
            .. model.Macros.Select(m => m.Name)];
        foreach (Match match in StatusName().Matches(result ?? "").Where(m => !known.Contains(m.Value)))
        {
            yield return $"@return names {match.Value}, which does not exist";
        }
    }

    private IEnumerable<string> SignatureFindings(FunctionDecl function)
    {
        IEnumerable<(string Name, TypeRef Type)> types =
            function.Parameters.Select(p => (p.Name, p.Type)).Prepend(("result", function.Result));
        foreach ((string name, TypeRef type) in types)
        {
            foreach (string finding in TypeFindings(type))
            {
                yield return $"{name}: {finding}";
            }

            if (type is NamedTypeRef named && model.FindStruct(named.Name) is not null)
            {
                yield return $"{name}: structs cross by pointer";
            }
        }
    }

    private IEnumerable<string> StructFindings(StructDecl type)
    {
        bool hasInit = model.InitMacroOf(type) is not null;
        if (hasInit != type.IsVersioned)
        {
            yield return hasInit ? "has an INIT macro, so struct_size must come first"
                : $"has struct_size, so it needs {type.Name.ToUpperInvariant()}_INIT";
        }

        long end = 0;
        foreach (FieldDecl field in type.Fields)
        {
            if (field.IsBitField)
            {
                yield return $"{field.Name}: bit field";
            }

            if (field.OffsetBytes != end)
            {
                yield return $"{field.Name}: {field.OffsetBytes - end} bytes of hidden padding before it";
            }

            end = field.OffsetBytes + field.SizeBytes;
            foreach (string finding in TypeFindings(field.Type))
            {
                yield return $"{field.Name}: {finding}";
            }
        }

        if (end != type.SizeBytes)
        {
            yield return $"{type.SizeBytes - end} bytes of hidden padding at its end";
        }
    }

    private IEnumerable<string> TypeFindings(TypeRef type)
    {
        foreach (TypeRef part in type.SelfAndInner())
        {
            if (part is PointerTypeRef { Pointee: PointerTypeRef })
            {
                yield return "T** (handles are returned)";
            }

            if (part is NamedTypeRef named && !IsKnown(named.Name))
            {
                yield return $"'{named.Name}' is not of fixed width";
            }
        }
    }

    private bool IsKnown(string name) =>
        CSharpType.Primitives.ContainsKey(name) || model.OpaqueTypes.Contains(name) || model.FindStruct(name) is not null ||
        model.Callbacks.Exists(c => c.Name == name);

    private bool IsHandle(TypeRef type) =>
        type is PointerTypeRef { Pointee: NamedTypeRef named } && model.OpaqueTypes.Contains(named.Name);

    [GeneratedRegex(@"\bSLORA_[A-Z0-9_]*[A-Z0-9]\b")]
    private static partial Regex StatusName();
}
