// Options of the HTTP surface.
namespace SLoRA;

/// <summary>Options of the OpenAI-compatible endpoints.</summary>
public sealed class SLoRAServerOptions
{
    /// <summary>Largest request body in bytes; more is answered with 413.</summary>
    public int MaxBodyBytes { get; set; } = 16 * 1024 * 1024;

    /// <summary>Most prompts of one completion request.</summary>
    public int MaxPrompts { get; set; } = 128;

    /// <summary>A comment is sent this often while a stream has nothing to say, so that proxies keep it open.</summary>
    public TimeSpan Heartbeat { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>false: adapters cannot be loaded and unloaded over HTTP.</summary>
    public bool AllowAdapterUpdates { get; set; } = true;
}
