namespace SLoRA;

/// <summary>Device memory, host memory or the host adapter budget is exhausted (HTTP 503).</summary>
public sealed class OutOfDeviceMemoryException : SLoRAException
{
    /// <summary>Creates the error.</summary>
    /// <param name="status">The status of the native library, or 0.</param>
    /// <param name="message">What was asked for and what there is, in bytes.</param>
    /// <param name="innerException">What caused it.</param>
    public OutOfDeviceMemoryException(int status, string message, Exception? innerException = null)
        : base(status, message, innerException)
    {
    }
}
