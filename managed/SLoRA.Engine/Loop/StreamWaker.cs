// Wakes the consumers of streams that got tokens. A thread of its own, so that the loop's never enters the thread pool,
// where waking may allocate and take locks.
using System.Collections.Concurrent;

namespace SLoRA.Engine.Loop;

internal sealed class StreamWaker : IDisposable
{
    private readonly ConcurrentQueue<TokenStream> _marked = new();
    private readonly AutoResetEvent _signal = new(false);
    private readonly Thread _thread;
    private volatile bool _isStopping;

    public StreamWaker()
    {
        _thread = new Thread(Run) { IsBackground = true, Name = "SLoRA waker" };
        _thread.Start();
    }

    public void Mark(TokenStream stream)
    {
        if (stream.TryMark())
        {
            _marked.Enqueue(stream);
        }
    }

    /// Once a step rather than once a token.
    public void Signal() => _signal.Set();

    public void Dispose()
    {
        _isStopping = true;
        _signal.Set();
        _thread.Join();
        _signal.Dispose();
    }

    private void Run()
    {
        while (!_isStopping)
        {
            _signal.WaitOne();
            WakeMarked();
        }

        WakeMarked();
    }

    private void WakeMarked()
    {
        while (_marked.TryDequeue(out var stream))
        {
            stream.Wake();
        }
    }
}
