// Carries the tokens of one request from the loop's thread to its consumer: one writer, one reader, no lock. Tokens lie
// in segments, of which enough for the request's whole output are made before it starts, so that the loop's thread
// allocates nothing however far a reader falls behind. Only outputs beyond MaxFresh segments depend on the reader: it
// hands read segments back, and one that falls behind there costs memory for what it has not read.
//
// The writer never runs or schedules the reader's continuation: it only marks the stream, and the StreamWaker's thread
// does the rest.
using System.Threading.Tasks.Sources;
using SLoRA.Engine.Native;

namespace SLoRA.Engine.Loop;

internal sealed class TokenStream : IValueTaskSource
{
    private const int SegmentLength = 128;

    // 4,096 tokens: about 100 KiB a request that asks for so many.
    private const int MaxFresh = 32;

    private readonly int _numTop;
    private readonly IStreamObserver? _observer;
    private ManualResetValueTaskSourceCore<bool> _wait = new() { RunContinuationsAsynchronously = true };
    private Segment _writing;
    private Segment _reading;
    private readonly Segment[] _fresh;
    private int _numFreshUsed;
    private Segment? _spare;
    private int _readIndex;
    private int _isWaiting;
    private int _isMarked;
    private Exception? _error;

    /// <param name="numTop">Most likely tokens kept a token.</param>
    /// <param name="maxTokens">Tokens that the request may give, all its choices together.</param>
    /// <param name="observer">Who reads it when it is woken; null: whoever waits.</param>
    public TokenStream(int numTop, int maxTokens, IStreamObserver? observer = null)
    {
        _numTop = numTop;
        _observer = observer;
        _writing = _reading = new Segment(SegmentLength, numTop);
        _fresh = new Segment[Math.Min(MaxFresh, maxTokens / SegmentLength + 1)];
        for (var i = 0; i < _fresh.Length; i++)
        {
            _fresh[i] = new Segment(SegmentLength, numTop);
        }
    }

    /// Why the stream ended early; read it when there is nothing more to read.
    public Exception? Error => Volatile.Read(ref _error);

    // ---- the loop's thread

    public void Write(in TokenEvent token, ReadOnlySpan<TokenScore> top)
    {
        if (_writing.Written == SegmentLength)
        {
            var next = NextSegment();
            next.Reset();
            Volatile.Write(ref _writing.Next, next);
            _writing = next;
        }

        top[..Math.Min(top.Length, _numTop)].CopyTo(_writing.Top.AsSpan(_writing.Written * _numTop));
        _writing.Tokens[_writing.Written] = token;
        Volatile.Write(ref _writing.Written, _writing.Written + 1);
    }

    private Segment NextSegment() =>
        Interlocked.Exchange(ref _spare, null)
        ?? (_numFreshUsed < _fresh.Length ? _fresh[_numFreshUsed++] : new Segment(SegmentLength, _numTop));

    public void Fail(Exception error) => Interlocked.CompareExchange(ref _error, error, null);

    /// true the first time since the last wake: the caller then owes the stream a Wake.
    public bool TryMark() => Interlocked.Exchange(ref _isMarked, 1) == 0;

    // ---- the waker's thread

    public void Wake()
    {
        Volatile.Write(ref _isMarked, 0);
        Interlocked.MemoryBarrier();
        if (_observer is not null)
        {
            _observer.OnWake(this);
        }
        else if (Interlocked.CompareExchange(ref _isWaiting, 0, 1) == 1)
        {
            _wait.SetResult(true);
        }
    }

    // ---- the consumer

    /// Takes the next token; `top` receives its most likely tokens.
    public bool TryRead(out TokenEvent token, Span<TokenScore> top)
    {
        if (_readIndex == SegmentLength && !TryAdvance())
        {
            token = default;
            return false;
        }

        if (_readIndex == Volatile.Read(ref _reading.Written))
        {
            token = default;
            return false;
        }

        token = _reading.Tokens[_readIndex];
        _reading.Top.AsSpan(_readIndex * _numTop, Math.Min(_numTop, top.Length)).CopyTo(top);
        _readIndex++;
        return true;
    }

    /// Wakes the reader from any thread without a token: it then looks at its cancellation token.
    public void Cancel()
    {
        Fail(new OperationCanceledException());
        Wake();
    }

    /// Completes when there may be something to read or an error.
    public ValueTask WaitAsync()
    {
        _wait.Reset();
        Volatile.Write(ref _isWaiting, 1);

        // The writer writes and then looks whether somebody waits; we say that we wait and then look whether something
        // was written. With a full fence between, one of the two sees the other.
        Interlocked.MemoryBarrier();
        if ((HasSomething() || Error is not null) && Interlocked.CompareExchange(ref _isWaiting, 0, 1) == 1)
        {
            return ValueTask.CompletedTask;
        }

        return new ValueTask(this, _wait.Version);
    }

    private bool HasSomething() =>
        _readIndex == SegmentLength ? Volatile.Read(ref _reading.Next) is not null : _readIndex < Volatile.Read(ref _reading.Written);

    private bool TryAdvance()
    {
        if (Volatile.Read(ref _reading.Next) is not { } next)
        {
            return false;
        }

        Volatile.Write(ref _spare, _reading);
        _reading = next;
        _readIndex = 0;
        return true;
    }

    void IValueTaskSource.GetResult(short token) => _wait.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _wait.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _wait.OnCompleted(continuation, state, token, flags);

    private sealed class Segment(int length, int numTop)
    {
        public readonly TokenEvent[] Tokens = new TokenEvent[length];
        public readonly TokenScore[] Top = numTop == 0 ? [] : new TokenScore[length * numTop];
        public int Written;
        public Segment? Next;

        public void Reset()
        {
            Written = 0;
            Next = null;
        }
    }
}
