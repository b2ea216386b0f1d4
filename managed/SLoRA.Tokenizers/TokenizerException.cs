// The one exception of this library for files and texts it cannot take. It names the place, so that the person who
// owns the model folder can mend it without reading our code.

namespace SLoRA.Tokenizers;

/// <summary>
/// A tokenizer file (or a text) is malformed, or asks for something this library does not do. The message is one line
/// and holds the file, the key and the value.
/// </summary>
public sealed class TokenizerException : Exception
{
    private const int MaxShownValueChars = 80;

    /// <summary>Creates an exception with a message only.</summary>
    /// <param name="message">What is wrong.</param>
    public TokenizerException(string message)
        : base(message)
    {
    }

    /// <summary>Creates an exception with a message and the exception that caused it.</summary>
    /// <param name="message">What is wrong.</param>
    /// <param name="innerException">The cause.</param>
    public TokenizerException(string message, Exception? innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Creates an exception without details.</summary>
    public TokenizerException()
        : base("The tokenizer cannot be used.")
    {
    }

    /// <summary>Creates an exception that names the place.</summary>
    /// <param name="problem">What is wrong, without the place.</param>
    /// <param name="file">Path of the file, or null.</param>
    /// <param name="key">Path of the key inside the file, such as <c>model.merges[3]</c>, or null.</param>
    /// <param name="value">The offending value, or null; the message shows its first 80 characters.</param>
    /// <param name="innerException">The cause, or null.</param>
    public TokenizerException(string problem, string? file, string? key, string? value, Exception? innerException = null)
        : base(Describe(problem, file, key, value), innerException)
    {
        File = file;
        Key = key;
        Value = value;
    }

    /// <summary>Path of the file, or null where none is to blame.</summary>
    public string? File { get; }

    /// <summary>Path of the key inside the file, or null.</summary>
    public string? Key { get; }

    /// <summary>The offending value, or null.</summary>
    public string? Value { get; }

    private static string Describe(string problem, string? file, string? key, string? value)
    {
        string place = file ?? "";
        if (!string.IsNullOrEmpty(key))
        {
            place = place.Length == 0 ? key : $"{place}: {key}";
        }

        string text = place.Length == 0 ? problem : $"{place}: {problem}";
        return value is null ? text : $"{text} (value: {OneLine(value)})";
    }

    private static string OneLine(string value)
    {
        string shown = value.Length <= MaxShownValueChars ? value : value[..MaxShownValueChars] + "…";
        return shown.Replace("\r", "\\r", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);
    }
}
