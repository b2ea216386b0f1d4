// The root of every error SLoRA throws on purpose. It carries the status of the native library as a number, so that this
// assembly needs no reference to the bindings; what a status means to a caller is decided where it is thrown.

namespace SLoRA;

/// <summary>An error of SLoRA. Its message names the value that was refused and the limit it broke.</summary>
public class SLoRAException : Exception
{
    /// <summary>Statuses at and below this one poison the object they came from.</summary>
    private const int FirstFatalStatus = -300;

    /// <summary>Creates an error that did not come from the native library.</summary>
    /// <param name="message">What was refused, the value and the limit.</param>
    /// <param name="innerException">What caused it.</param>
    public SLoRAException(string message, Exception? innerException = null)
        : base(message, innerException)
    {
    }

    /// <summary>Creates an error from a status of the native library.</summary>
    /// <param name="status">The status, negative: -1xx caller, -2xx environment, -3xx fatal.</param>
    /// <param name="message">What was refused, the value and the limit.</param>
    /// <param name="innerException">What caused it.</param>
    public SLoRAException(int status, string message, Exception? innerException = null)
        : base(message, innerException) => Status = status;

    /// <summary>The status of the native library (<c>enum slora_status</c>); 0 if the error is not the library's.</summary>
    public int Status { get; init; }

    /// <summary>Whether the engine that threw can only be disposed.</summary>
    public bool IsFatal => Status <= FirstFatalStatus;

    /// <summary>The export or source line of the native library that refused; null if the error is not the library's.</summary>
    public string? Site { get; init; }
}
