// The one thread that uses the native engine's step: takes commands, plans, submits, collects. All scheduling state is
// its own; other threads reach it by Post and read its published numbers. What becomes of requests is LiveRequests'.
//
// One turn: take commands; submit the next plan if fewer than two steps are in flight; collect the oldest when two are,
// or when there is nothing to submit. A steady turn allocates nothing.
//
// Anything thrown on this thread is a fault: no later step can be trusted, so every request ends with the error. But a step
// for which the device has no memory has changed nothing: it is a step deferred.
using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using SLoRA.Engine.Native;
using SLoRA.Scheduling.Planning;

namespace SLoRA.Engine.Loop;

internal sealed class EngineLoop : IDisposable
{
    private static readonly TimeSpan IdleBeat = TimeSpan.FromMilliseconds(500);

    // How long rows may wait for adapters that cannot become resident before the latest sequence gives way.
    private static readonly TimeSpan AdapterPatience = TimeSpan.FromSeconds(2);

    private readonly INativeEngine _native;
    private readonly Scheduler _scheduler;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly StepOutcome _outcome;
    private readonly LiveRequests _requests;
    private readonly ConcurrentQueue<LoopCommand> _commands = new();
    private readonly AutoResetEvent _wake = new(false);
    private readonly Queue<BatchPlan> _inFlight = new(2);
    private readonly Thread _thread;
    private readonly int _maxWaiting;

    private bool _isPoolStale = true;
    private long _adapterDeferredAt;
    private volatile bool _isStopping;
    private volatile bool _isClosed;
    private volatile Exception? _fault;
    private volatile TaskCompletionSource? _idle;
    private LoopNumbers _numbers = new();

    // countsAdapterPages: adapters take pages that KV could have, everywhere but where an experiment sets a region aside.
    public EngineLoop(INativeEngine native, Scheduler scheduler, int maxWaiting, TimeProvider time, ILogger logger, bool countsAdapterPages = true)
    {
        _native = native;
        _scheduler = scheduler;
        _maxWaiting = maxWaiting;
        _time = time;
        _logger = logger;
        _requests = new LiveRequests(native, scheduler, maxWaiting, logger, countsAdapterPages);
        _outcome = new StepOutcome(native.Geometry.MaxBatchRows, native.Geometry.MaxLogprobs);
        _numbers.Beat(time);
        _thread = new Thread(Run) { IsBackground = true, Name = "SLoRA loop" };
    }

    public Exception? Fault => _fault;

    public LoopNumbers Numbers => _numbers;

    public int NumWaiting => _requests.NumWaiting;

    internal IStepObserver? Probe { get; set; }

    /// Called on the loop's thread, once, before any request is told.
    public Action<Exception>? Faulted { get; set; }

    public void Start() => _thread.Start();

    /// Hands a request over.
    public void Submit(RequestTicket ticket)
    {
        if (!_requests.TryReserve(ticket.NumChoices))
        {
            throw new QueueFullException($"{NumWaiting} sequences wait, the limit is {_maxWaiting}; try again later", RetryAfter());
        }

        ticket.SubmittedAt = _time.GetTimestamp();
        Post(new LoopCommand(LoopCommandKind.Start, ticket, 0, null));
    }

    /// Ends a choice, or all (-1). No tokens of it arrive after the loop has seen this.
    public void Cancel(RequestTicket ticket, int choiceIndex = -1) => Post(new LoopCommand(LoopCommandKind.Cancel, ticket, choiceIndex, null));

    /// Runs `action` on the loop's thread.
    public Task RunAsync(Action action)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Post(new LoopCommand(LoopCommandKind.Run, null, 0, () => Complete(done, action)));
        return done.Task;
    }

    /// Completes when nothing waits, runs or is in flight.
    public Task WhenIdleAsync()
    {
        var idle = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _idle = idle;
        _wake.Set();
        if (_isClosed)
        {
            idle.TrySetResult();
        }

        return idle.Task;
    }

    public void Dispose()
    {
        _isStopping = true;
        _wake.Set();
        if (_thread.IsAlive)
        {
            _thread.Join();
        }

        // _wake stays: a Post that has just seen the loop open may still set it.
        _requests.Dispose();
    }

    private static void Complete(TaskCompletionSource done, Action action)
    {
        try
        {
            action();
            done.SetResult();
        }
#pragma warning disable CA1031 // whatever it throws belongs to who asked
        catch (Exception error)
#pragma warning restore CA1031
        {
            done.SetException(error);
        }
    }

    // Mean time between ends of requests would be better; the queue's age says at least how far behind we are.
    private TimeSpan RetryAfter() => TimeSpan.FromSeconds(Math.Clamp(Math.Ceiling(_numbers.OldestWait.TotalSeconds), 1, 60));

    private void Post(in LoopCommand command)
    {
        _commands.Enqueue(command);
        if (_isClosed)
        {
            // The loop has gone or is going: whoever sees the command first refuses it.
            RefuseCommands();
            return;
        }

        _wake.Set();
    }

    private void Run()
    {
        try
        {
            while (!_isStopping)
            {
                _numbers.Beat(_time);
                TakeCommands();
                if (!TryTurn())
                {
                    Rest();
                }
            }

            Close(new SLoRAException("the engine was stopped"));
        }
#pragma warning disable CA1031 // a fault is whatever was thrown
        catch (Exception error)
#pragma warning restore CA1031
        {
            EngineLog.LoopFaulted(_logger, error);
            _fault = error;
            Faulted?.Invoke(error);
            Close(new SLoRAException((error as SLoRAException)?.Status ?? 0, $"the engine failed: {error.Message}", error));
        }
    }

    private void Close(Exception reason)
    {
        _isClosed = true;
        _requests.FailAll(reason);
        RefuseCommands();
        _idle?.TrySetResult();
    }

    // On any thread, the waker's possibly gone: streams are woken directly.
    private void RefuseCommands()
    {
        while (_commands.TryDequeue(out var command))
        {
            if (command.Kind == LoopCommandKind.Start)
            {
                command.Ticket!.Stream.Fail(new SLoRAException("the engine no longer takes requests", _fault));
                command.Ticket.Stream.Wake();
            }

            command.Action?.Invoke();
        }
    }

    private void Rest()
    {
        if (!_scheduler.IsIdle)
        {
            // Only adapters on their way can bring us here: look again soon.
            _wake.WaitOne(1);
            return;
        }

        _numbers.Publish(_scheduler);
        Interlocked.Exchange(ref _idle, null)?.TrySetResult();
        _wake.WaitOne(IdleBeat);
    }

    // ---- commands

    private void TakeCommands()
    {
        while (_commands.TryDequeue(out var command))
        {
            switch (command.Kind)
            {
                case LoopCommandKind.Start:
                    _requests.Start(command.Ticket!);
                    break;
                case LoopCommandKind.Cancel:
                    _requests.Cancel(command.Ticket!, command.ChoiceIndex);
                    break;
                default:
                    command.Action!();
                    break;
            }
        }
    }

    // ---- the step

    private bool TryTurn()
    {
        var submitted = _inFlight.Count < 2 && TrySubmit();
        if (_inFlight.Count == 2 || (!submitted && _inFlight.Count > 0))
        {
            Collect();
            return true;
        }

        return submitted;
    }

    // true: a turn's work was done, go round again at once.
    private bool TrySubmit()
    {
        if (_scheduler.IsIdle)
        {
            return false;
        }

        RefreshPool();
        var plan = _scheduler.Plan();
        foreach (var sequence in plan.Preempted)
        {
            _native.PreemptSequence(sequence.Id.Value);
        }

        if (!_requests.TryCreateAdmitted(plan))
        {
            return false;
        }

        return plan.NumRows > 0 ? TrySubmit(plan) : plan.Preempted.Length > 0;
    }

    private bool TrySubmit(BatchPlan plan)
    {
        StepStatus status;
        try
        {
            status = _native.Submit(plan.Rows, plan.Prefetch);
        }
        catch (OutOfDeviceMemoryException error)
        {
            EngineLog.StepWithoutMemory(_logger, plan.NumRows, error.Message);
            return OnPagesDeferred(error);
        }

        switch (status)
        {
            case StepStatus.Ok:
                _scheduler.Commit(plan);
                _inFlight.Enqueue(plan);
                _adapterDeferredAt = 0;
                return true;
            case StepStatus.DeferredAdapter:
                return OnAdapterDeferred();
            default:
                return OnPagesDeferred();
        }
    }

    // With a step in flight the answer may change when it is collected; with none, somebody has to give way.
    private bool OnPagesDeferred(OutOfDeviceMemoryException? error = null)
    {
        _isPoolStale = true;
        if (_inFlight.Count > 0)
        {
            return false;
        }

        if (_scheduler.DeferForPages() is EngineSequence hopeless)
        {
            _requests.FailHopeless(hopeless, error);
        }

        return true;
    }

    private bool OnAdapterDeferred()
    {
        _isPoolStale = true;
        var isFirst = _adapterDeferredAt == 0;
        if (isFirst)
        {
            _adapterDeferredAt = _time.GetTimestamp();
        }

        // Warm rows go on in the next plan.
        _scheduler.DeferForAdapter();
        if (_inFlight.Count > 0)
        {
            // The collect frees what the step holds and says which adapters are resident: without it we would ask the
            // same question for ever.
            return false;
        }

        if (_time.GetElapsedTime(_adapterDeferredAt) > AdapterPatience)
        {
            _adapterDeferredAt = 0;
            return OnPagesDeferred();
        }

        // Once more at once, with warm rows only; if that is deferred too, rest before the next try.
        return isFirst;
    }

    private void RefreshPool()
    {
        if (_isPoolStale && _inFlight.Count == 0)
        {
            Observe(_native.GetCounters());
            _isPoolStale = false;
        }
    }

    private void Collect()
    {
        var status = _native.Collect(_outcome);
        if (status != StepStatus.Ok)
        {
            throw new InvalidOperationException($"collect answered {status} with {_inFlight.Count} steps in flight");
        }

        var plan = _inFlight.Dequeue();
        Observe(_outcome.Pool);
        for (var i = 0; i < _outcome.NumEvents; i++)
        {
            NoteResidency(_outcome.Events[i]);
        }

        _requests.HandOut(plan, _outcome);
        _numbers.Publish(_scheduler, plan);
        _requests.WakeReaders();
        Probe?.OnStep(plan, _outcome);
        Scheduler.Recycle(plan);
    }

    private void Observe(in NativeCounters pool) => _scheduler.ObservePool(new PoolState(pool.FreePages, pool.EvictablePages));

    private void NoteResidency(ResidencyChange change)
    {
        if (change.IsLoaded)
        {
            _scheduler.Adapters.Loaded(change.AdapterId);
        }
        else
        {
            _scheduler.Adapters.Evicted(change.AdapterId);
        }
    }
}
