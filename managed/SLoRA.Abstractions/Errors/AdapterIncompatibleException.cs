namespace SLoRA;

/// <summary>
/// An adapter was read and cannot be used with the base model: wrong shapes, no module in common, an option that is not
/// implemented or more pages than the pool has (HTTP 400).
/// </summary>
public sealed class AdapterIncompatibleException : SLoRAException
{
    /// <summary>Creates the error for a check on the managed side.</summary>
    /// <param name="message">The key or tensor, its value and what the model needs.</param>
    /// <param name="innerException">What caused it.</param>
    public AdapterIncompatibleException(string message, Exception? innerException = null)
        : base(message, innerException)
    {
    }

    /// <summary>Creates the error from a status of the native library.</summary>
    /// <param name="status">The status, negative.</param>
    /// <param name="message">The key or tensor, its value and what the model needs.</param>
    /// <param name="innerException">What caused it.</param>
    public AdapterIncompatibleException(int status, string message, Exception? innerException = null)
        : base(status, message, innerException)
    {
    }
}
