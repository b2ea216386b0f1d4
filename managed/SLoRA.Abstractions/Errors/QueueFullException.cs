namespace SLoRA;

/// <summary>The engine takes no more requests now (HTTP 429).</summary>
public sealed class QueueFullException : SLoRAException
{
    /// <summary>Creates the error.</summary>
    /// <param name="message">The queue, its length and its limit.</param>
    /// <param name="retryAfter">When another attempt has a chance.</param>
    public QueueFullException(string message, TimeSpan retryAfter)
        : base(message) => RetryAfter = retryAfter;

    /// <summary>When another attempt has a chance: the Retry-After of an HTTP answer.</summary>
    public TimeSpan RetryAfter { get; }
}
