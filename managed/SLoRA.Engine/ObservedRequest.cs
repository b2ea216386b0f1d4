// A request whose tokens are counted, not decoded, and on no task of its own: what a replay of thousands needs. Owns the
// leases on its adapters until it has ended.
using SLoRA.Engine.Catalog;
using SLoRA.Engine.Loop;

namespace SLoRA.Engine;

internal sealed class ObservedRequest(EngineLoop loop, AdapterRevision[] revisions, ITokenObserver observer) : IStreamObserver
{
    private readonly Lock _gate = new();
    private RequestTicket? _ticket;
    private bool _isDone;

    public void Begin(RequestTicket ticket)
    {
        _ticket = ticket;
        try
        {
            loop.Submit(ticket);
        }
        catch
        {
            Release();
            throw;
        }
    }

    /// Ends it; its observer is told so with an OperationCanceledException.
    public void Cancel()
    {
        loop.Cancel(_ticket!);
        _ticket!.Stream.Cancel();
    }

    void IStreamObserver.OnWake(TokenStream stream)
    {
        lock (_gate)
        {
            if (!_isDone)
            {
                Read(stream);
            }
        }
    }

    private void Read(TokenStream stream)
    {
        // Before the tokens: those written ahead of an error are counted.
        var error = stream.Error;
        var numTokens = 0;
        while (!_isDone && stream.TryRead(out var token, []))
        {
            numTokens++;
            _isDone = token.Finish is not null;
        }

        if (_isDone || error is not null)
        {
            Release();
            observer.OnTokens(numTokens, isLast: true, _isDone ? null : error);
            _isDone = true;
        }
        else if (numTokens > 0)
        {
            observer.OnTokens(numTokens, isLast: false, null);
        }
    }

    private void Release()
    {
        foreach (var revision in revisions)
        {
            revision.Release();
        }
    }
}
