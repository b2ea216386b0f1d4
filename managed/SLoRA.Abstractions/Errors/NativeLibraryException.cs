namespace SLoRA;

/// <summary>
/// The native library could not be loaded. The message and <see cref="Attempts"/> list every place that was tried with
/// the loader's own words, because only those name a missing dependency or a wrong libstdc++.
/// </summary>
public sealed class NativeLibraryException : SLoRAException
{
    /// <summary>Creates the error.</summary>
    /// <param name="message">The whole story, attempts included.</param>
    /// <param name="attempts">One line a place tried, in order: path and the loader's reason.</param>
    /// <param name="innerException">The last loader exception.</param>
    public NativeLibraryException(string message, IReadOnlyList<string> attempts, Exception? innerException = null)
        : base(message, innerException) => Attempts = attempts;

    /// <summary>One line a place tried, in order: path and the loader's reason.</summary>
    public IReadOnlyList<string> Attempts { get; }
}
