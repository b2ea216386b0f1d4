// What AddSLoRA hands back to go on with.
using Microsoft.Extensions.DependencyInjection;

namespace SLoRA;

/// <summary>Goes on configuring an engine registered by <c>AddSLoRA</c>.</summary>
public interface ISLoRABuilder
{
    /// <summary>Where the engine is registered.</summary>
    IServiceCollection Services { get; }
}
