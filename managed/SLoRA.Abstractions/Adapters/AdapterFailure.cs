// An adapter that could not be loaded, and why.
namespace SLoRA;

/// <summary>An adapter that was not loaded.</summary>
/// <param name="Name">Its name, or its folder's.</param>
/// <param name="Path">Its folder.</param>
/// <param name="Reason">One line: what is wrong, the value and the limit.</param>
public sealed record AdapterFailure(string Name, string Path, string Reason);
