// The engine's life inside a host: loaded before any service starts (so a server accepts nothing before it can answer),
// drained while the host stops, freed when everything has stopped. What the drain does not finish in the host's time is
// ended with an error.
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace SLoRA.Hosting;

internal sealed class EngineHost(IEngineFactory factory, IOptions<SLoRAOptions> options, SLoRAMeters meters, ILogger<EngineHost> logger)
    : IHostedLifecycleService, IAsyncDisposable
{
    private volatile SLoRAEngine? _engine;

    /// The loaded engine.
    public SLoRAEngine Engine => _engine ?? throw new InvalidOperationException("the engine is not loaded yet: it is once the host has started");

    public SLoRAEngine? EngineOrNull => _engine;

    public EngineState State => _engine?.State ?? EngineState.Loading;

    public async Task StartingAsync(CancellationToken cancellationToken)
    {
        _engine = await factory.LoadAsync(options.Value, cancellationToken).ConfigureAwait(false);
        meters.Attach(_engine);
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        if (_engine is not { } engine)
        {
            return;
        }

        try
        {
            await engine.DrainAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            HostingLog.DrainCut(logger, engine.GetStatistics().Running);
        }
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task StoppedAsync(CancellationToken cancellationToken) => await DisposeAsync().ConfigureAwait(false);

    public async ValueTask DisposeAsync()
    {
        if (_engine is { } engine)
        {
            await engine.DisposeAsync().ConfigureAwait(false);
        }
    }
}
