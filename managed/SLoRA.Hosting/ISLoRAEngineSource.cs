// The engine for those who are constructed before it is loaded.
namespace SLoRA;

/// <summary>The engine registered by <c>AddSLoRA</c>, to be awaited. Inject this where a constructor may run before the host
/// has started and must not wait: hosted services are constructed before any of them starts.</summary>
public interface ISLoRAEngineSource
{
    /// <summary>The engine, as soon as it is loaded. The first call loads it if the host has not begun to. Every call gives
    /// the same engine, or the error that its load ended with.</summary>
    /// <param name="cancellationToken">Ends the wait; the load goes on.</param>
    ValueTask<SLoRAEngine> GetAsync(CancellationToken cancellationToken = default);
}
