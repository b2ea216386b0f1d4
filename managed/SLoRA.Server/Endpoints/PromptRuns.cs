// The generations of one HTTP request, one a prompt, run side by side. All are validated and queued before the first
// waits, so that a request is refused as a whole.
namespace SLoRA.Server.Endpoints;

internal sealed class PromptRuns : IAsyncDisposable
{
    private readonly IAsyncEnumerator<GenerationChunk>[] _runs;
    private readonly Task<bool>?[] _next;
    private readonly CancellationTokenSource _stop;

    private PromptRuns(SLoRAEngine engine, IReadOnlyList<GenerationRequest> requests, CancellationToken ct)
    {
        _stop = CancellationTokenSource.CreateLinkedTokenSource(ct);
        _runs = [.. requests.Select(request => engine.GenerateAsync(request, _stop.Token).GetAsyncEnumerator(_stop.Token))];
        _next = new Task<bool>?[_runs.Length];
    }

    public static async Task<PromptRuns> StartAsync(SLoRAEngine engine, IReadOnlyList<GenerationRequest> requests, CancellationToken ct)
    {
        // One request shows what is wrong with it before it is queued; of several, the first would run while the last is
        // looked at.
        for (var i = 0; requests.Count > 1 && i < requests.Count; i++)
        {
            await engine.ValidateAsync(requests[i], ct).ConfigureAwait(false);
        }

        var runs = new PromptRuns(engine, requests, ct);
        try
        {
            for (var i = 0; i < runs._runs.Length; i++)
            {
                // What is wrong with a request shows before its first wait.
                runs._next[i] = runs._runs[i].MoveNextAsync().AsTask();
                if (runs._next[i]!.IsFaulted)
                {
                    await runs._next[i]!.ConfigureAwait(false);
                }
            }

            return runs;
        }
        catch
        {
            await runs.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// The next chunk of any prompt; prompt -1: nothing came within `patience`; null: all have ended.
    public async Task<(int Prompt, GenerationChunk? Chunk)?> NextAsync(TimeSpan patience)
    {
        while (true)
        {
            var waiting = _next.OfType<Task<bool>>().ToArray();
            if (waiting.Length == 0)
            {
                return null;
            }

            if (!await AnyWithinAsync(waiting, patience).ConfigureAwait(false))
            {
                return (-1, null);
            }

            var prompt = Array.FindIndex(_next, next => next is { IsCompleted: true });
            if (await _next[prompt]!.ConfigureAwait(false))
            {
                var chunk = _runs[prompt].Current;
                _next[prompt] = _runs[prompt].MoveNextAsync().AsTask();
                return (prompt, chunk);
            }

            _next[prompt] = null;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        for (var i = 0; i < _runs.Length; i++)
        {
            if (_next[i] is { } pending)
            {
                await ((Task)pending).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }

            await _runs[i].DisposeAsync().ConfigureAwait(false);
        }

        _stop.Dispose();
    }

    private static async Task<bool> AnyWithinAsync(Task<bool>[] waiting, TimeSpan patience)
    {
        if (waiting.Any(task => task.IsCompleted))
        {
            return true;
        }

        try
        {
            await Task.WhenAny(waiting).WaitAsync(patience).ConfigureAwait(false);
            return true;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }
}
