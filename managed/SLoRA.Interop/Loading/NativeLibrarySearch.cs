namespace SLoRA.Interop;

/// <summary>Where to look for the native library besides the usual places.</summary>
public sealed record NativeLibrarySearch
{
    /// <summary>The file itself. If set, no other place is tried.</summary>
    public string? LibraryPath { get; init; }

    /// <summary>Folders to try before the usual places.</summary>
    public IReadOnlyList<string> Directories { get; init; } = [];
}
