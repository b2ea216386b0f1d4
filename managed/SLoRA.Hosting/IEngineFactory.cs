// Makes the engine of a host. Tests make one over a fake.
using Microsoft.Extensions.Logging;
using SLoRA.Engine;

namespace SLoRA.Hosting;

internal interface IEngineFactory
{
    Task<SLoRAEngine> LoadAsync(SLoRAOptions options, CancellationToken ct);
}

internal sealed class EngineFactory(
    ILoggerFactory loggers, TimeProvider time, IEnumerable<IAdapterResolver> resolvers, IProgress<LoadProgress>? progress = null) : IEngineFactory
{
    public Task<SLoRAEngine> LoadAsync(SLoRAOptions options, CancellationToken ct) => EngineLoader.LoadAsync(options, resolvers, progress, loggers, time, ct);
}
