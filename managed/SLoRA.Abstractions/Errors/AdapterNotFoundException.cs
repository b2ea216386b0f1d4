namespace SLoRA;

/// <summary>A request names an adapter that is neither loaded nor known to the catalogue (HTTP 404).</summary>
public sealed class AdapterNotFoundException : SLoRAException
{
    /// <summary>Creates the error.</summary>
    /// <param name="adapterName">The name that was asked for.</param>
    /// <param name="message">What is known about it; null for a plain sentence.</param>
    /// <param name="innerException">What caused it.</param>
    public AdapterNotFoundException(string adapterName, string? message = null, Exception? innerException = null)
        : base(message ?? $"No adapter named '{adapterName}'.", innerException) => AdapterName = adapterName;

    /// <summary>The name that was asked for.</summary>
    public string AdapterName { get; }
}
