namespace SLoRA;

/// <summary>A base model could not be read: file, format, backend or an option that is not implemented.</summary>
public sealed class ModelLoadException : SLoRAException
{
    /// <summary>Creates the error for a failure on the managed side, e.g. the tokenizer of the model folder.</summary>
    /// <param name="message">The file, the key and the value that was refused.</param>
    /// <param name="innerException">What caused it.</param>
    public ModelLoadException(string message, Exception? innerException = null)
        : base(message, innerException)
    {
    }

    /// <summary>Creates the error from a status of the native library.</summary>
    /// <param name="status">The status, negative.</param>
    /// <param name="message">The file, the key and the value that was refused.</param>
    /// <param name="innerException">What caused it.</param>
    public ModelLoadException(int status, string message, Exception? innerException = null)
        : base(status, message, innerException)
    {
    }
}
