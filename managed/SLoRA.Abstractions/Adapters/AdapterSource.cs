// Where an adapter is to be read from, and under which name.
namespace SLoRA;

/// <summary>A request to load an adapter.</summary>
/// <param name="Name">The name requests will use; see <see cref="IsValidName"/>.</param>
/// <param name="Path">A PEFT folder: <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>.</param>
public sealed record AdapterSource(string Name, string Path)
{
    /// <summary>Longest name in characters.</summary>
    public const int MaxNameLength = 128;

    /// <summary>true: once resident it is not evicted.</summary>
    public bool Pinned { get; init; }

    /// <summary>true: an adapter of this name is replaced; requests that began with it end with it.</summary>
    public bool Replace { get; init; }

    /// <summary>Whether a name can be used in requests and shown in logs: letters, digits and <c>. _ - : /</c>, beginning
    /// with a letter or digit and not ending with a slash, at most <see cref="MaxNameLength"/> characters.</summary>
    /// <param name="name">The name.</param>
    public static bool IsValidName(string? name) =>
        name is { Length: > 0 and <= MaxNameLength } && char.IsLetterOrDigit(name[0]) && name[^1] != '/' && name.All(IsNameCharacter);

    /// <summary>Throws if name or path cannot be used.</summary>
    /// <exception cref="RequestInvalidException">With the value and the rule.</exception>
    public void Validate()
    {
        Check.That(IsValidName(Name), "lora_name", $"lora_name is '{Shorten(Name)}'; it must be 1 to {MaxNameLength} letters, digits or . _ - : / and begin with a letter or digit");
        Check.That(!string.IsNullOrWhiteSpace(Path), "lora_path", "lora_path is empty; it must be a folder");
        Check.That(!Path.Contains('\0', StringComparison.Ordinal), "lora_path", "lora_path contains a zero character");
    }

    private static string Shorten(string? name) => name is { Length: > 40 } ? string.Concat(name.AsSpan(0, 40), "…") : name ?? string.Empty;

    private static bool IsNameCharacter(char character) => char.IsLetterOrDigit(character) || "._-:/".Contains(character, StringComparison.Ordinal);
}
