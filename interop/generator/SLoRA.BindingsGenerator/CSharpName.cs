// C names to C# names. One rule each way, so that a reader of either side finds the other without a table.

using System.Globalization;
using SLoRA.BindingsGenerator.Model;

namespace SLoRA.BindingsGenerator;

internal static class CSharpName
{
    private const string Prefix = "slora_";

    /// <summary>slora_plan_row → NativePlanRow. The prefix keeps it apart from the types of the upper layers.</summary>
    public static string OfStruct(string name) => "Native" + Pascal(WithoutPrefix(name));

    public static string OfEnum(string name) => OfStruct(name);

    /// <summary>slora_engine → OpaqueEngine.</summary>
    public static string OfOpaque(string name) => "Opaque" + Pascal(WithoutPrefix(name));

    /// <summary>slora_engine_submit → EngineSubmit.</summary>
    public static string OfFunction(string name) => Pascal(WithoutPrefix(name));

    /// <summary>SLORA_ERROR_SITE_BYTES → ErrorSiteBytes.</summary>
    public static string OfConstant(string name) => Pascal(WithoutPrefix(name.ToLowerInvariant()));

    /// <summary>path_bytes → PathBytes.</summary>
    public static string OfField(string name) => Pascal(name);

    /// <summary>user_data → userData, as a parameter.</summary>
    public static string OfParameter(string name)
    {
        string pascal = Pascal(name);
        return char.ToLowerInvariant(pascal[0]) + pascal[1..];
    }

    /// <summary>SLORA_DTYPE_BF16 in slora_dtype → Bf16: what all constants of the enum share is left out.</summary>
    public static string OfEnumConstant(EnumDecl type, string name)
    {
        string[][] words = [.. type.Constants.Select(c => c.Name.Split('_'))];
        int shared = 0;
        while (words.All(w => shared < w.Length - 1 && w[shared] == words[0][shared]))
        {
            shared++;
        }

        return Pascal(string.Join('_', name.ToLowerInvariant().Split('_').Skip(shared)));
    }

    private static string WithoutPrefix(string name) =>
        name.StartsWith(Prefix, StringComparison.Ordinal)
            ? name[Prefix.Length..]
            : throw new GeneratorException($"{name} does not begin with {Prefix}");

    private static string Pascal(string name) => string.Concat(
        name.Split('_', StringSplitOptions.RemoveEmptyEntries)
            .Select(w => char.ToUpper(w[0], CultureInfo.InvariantCulture) + w[1..]));
}
