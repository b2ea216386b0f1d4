namespace SLoRA;

/// <summary>A request cannot be served as it is written; the same request will be refused again (HTTP 400).</summary>
public sealed class RequestInvalidException : SLoRAException
{
    /// <summary>Creates the error.</summary>
    /// <param name="message">The value and the limit.</param>
    /// <param name="param">The field of the request that is wrong, as the client spells it; null if none stands out.</param>
    /// <param name="innerException">What caused it.</param>
    public RequestInvalidException(string message, string? param = null, Exception? innerException = null)
        : base(message, innerException) => Param = param;

    /// <summary>The field of the request that is wrong; null if none stands out.</summary>
    public string? Param { get; }
}
