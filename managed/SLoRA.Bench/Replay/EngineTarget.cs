// The engine in this process as a target. Tokens are counted on the engine's waker thread: a token costs the client a few
// stores, no task and no allocation.
using System.Collections.Concurrent;
using SLoRA.Engine;

namespace SLoRA.Bench.Replay;

internal sealed class EngineTarget(SLoRAEngine engine) : IReplayTarget
{
    private readonly ConcurrentDictionary<ReplayRequest, ObservedRequest> _sent = new();
    private volatile bool _isStopped;

    public void Send(ReplayRequest request)
    {
        var pending = engine.ObserveAsync(
            new GenerationRequest
            {
                Prompt = Prompt.FromTokens(request.Prompt),
                Adapters = request.Adapter is { } name ? [name] : [],
                MaxOutputTokens = request.Trace.OutputTokens,
                IgnoreEos = true,
            },
            request);
        if (pending.IsCompletedSuccessfully)
        {
            _sent[request] = pending.Result;
        }
        else
        {
            _ = AwaitAsync(request, pending);
        }
    }

    public void Stop()
    {
        _isStopped = true;
        foreach (var (request, running) in _sent)
        {
            if (!request.IsDone)
            {
                running.Cancel();
            }
        }
    }

    // Its adapter is being read: the next request must not wait for that.
    private async Task AwaitAsync(ReplayRequest request, ValueTask<ObservedRequest> pending)
    {
        try
        {
            var running = await pending.ConfigureAwait(false);
            _sent[request] = running;
            if (_isStopped)
            {
                running.Cancel();
            }
        }
#pragma warning disable CA1031 // a replay waits for every request to end, whatever ends it
        catch (Exception error)
#pragma warning restore CA1031
        {
            request.OnTokens(0, isLast: true, error);
        }
    }
}
