// The engine's life inside a host: loaded before any service starts (so a server accepts nothing before it can answer),
// drained while the host stops, freed when everything has stopped. What the drain does not finish in the host's time is
// ended with an error.
//
// Hosted services are constructed before the first of them starts. One that asks for the engine in its constructor makes
// it load then; the start waits for the same load.
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace SLoRA.Hosting;

internal sealed class EngineHost(
    IEngineFactory factory, IOptions<SLoRAOptions> options, SLoRAMeters meters, ILogger<EngineHost> logger, IHostApplicationLifetime? lifetime = null)
    : IHostedLifecycleService, ISLoRAEngineSource, IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _abandon = new();
    private Task<SLoRAEngine>? _load;
    private volatile SLoRAEngine? _engine;

    /// The loaded engine. Waits for the load where it has not ended: a constructor cannot await.
    public SLoRAEngine Engine
    {
        get
        {
            if (_engine is { } engine)
            {
                return engine;
            }

            using var stopping = lifetime?.ApplicationStopping.UnsafeRegister(Abandon, null);
            return Load().GetAwaiter().GetResult();
        }
    }

    public SLoRAEngine? EngineOrNull => _engine;

    public EngineState State => _engine?.State ?? EngineState.Loading;

    public async ValueTask<SLoRAEngine> GetAsync(CancellationToken cancellationToken = default) =>
        _engine ?? await Load().WaitAsync(cancellationToken).ConfigureAwait(false);

    public async Task StartingAsync(CancellationToken cancellationToken)
    {
        await using var stopping = cancellationToken.UnsafeRegister(Abandon, null).ConfigureAwait(false);
        await Load().ConfigureAwait(false);
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
        Abandon(null);
        Task<SLoRAEngine>? load;
        lock (_gate)
        {
            load = _load;
        }

        // A host that fails while it starts is disposed with the load under way; what came of it is whose who asked.
        if (load is not null)
        {
            await ((Task)load).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        if (_engine is { } engine)
        {
            await engine.DisposeAsync().ConfigureAwait(false);
        }
    }

    // On the pool: whoever waits in a constructor holds its thread, and what the load does first is not short.
    private Task<SLoRAEngine> Load()
    {
        lock (_gate)
        {
            return _load ??= Task.Run(LoadOnceAsync);
        }
    }

    private async Task<SLoRAEngine> LoadOnceAsync()
    {
        var engine = await factory.LoadAsync(options.Value, _abandon.Token).ConfigureAwait(false);
        meters.Attach(engine);
        _engine = engine;
        return engine;
    }

    private void Abandon(object? state) => _abandon.Cancel();
}
