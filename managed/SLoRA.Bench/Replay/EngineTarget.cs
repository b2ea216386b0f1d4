// The engine in this process as a target. Tokens are counted on the engine's waker thread: a token costs the client a few
// stores, no task and no allocation.
using System.Collections.Concurrent;
using SLoRA.Engine;

namespace SLoRA.Bench.Replay;

internal sealed class EngineTarget(SLoRAEngine engine) : IReplayTarget
{
    private readonly ConcurrentDictionary<ReplayRequest, ObservedRequest> _sent = new();

    public void Send(ReplayRequest request)
    {
        _sent[request] = engine.Observe(
            new GenerationRequest
            {
                Prompt = Prompt.FromTokens(request.Prompt),
                Adapters = request.Adapter is { } name ? [name] : [],
                MaxOutputTokens = request.Trace.OutputTokens,
                IgnoreEos = true,
            },
            request);
    }

    public void Stop()
    {
        foreach (var (request, running) in _sent)
        {
            if (!request.IsDone)
            {
                running.Cancel();
            }
        }
    }
}
