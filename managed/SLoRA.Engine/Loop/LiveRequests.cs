// The requests that the loop has and their sequences, from hand-over to end: started as sequences that wait, created in
// the native engine, given their tokens, ended or failed. What runs when is the scheduler's and the loop's.
//
// TryReserve and NumWaiting are for any thread, the rest for the loop's alone.
using Microsoft.Extensions.Logging;
using SLoRA.Engine.Native;
using SLoRA.Scheduling.Planning;

namespace SLoRA.Engine.Loop;

internal sealed class LiveRequests : IDisposable
{
    private readonly INativeEngine _native;
    private readonly Scheduler _scheduler;
    private readonly ILogger _logger;
    private readonly StreamWaker _waker = new();
    private readonly HashSet<RequestTicket> _tickets = [];
    private readonly int _maxWaiting;
    private readonly bool _countsAdapterPages;

    private ulong _lastSequenceId;
    private int _numWaiting;

    public LiveRequests(INativeEngine native, Scheduler scheduler, int maxWaiting, ILogger logger, bool countsAdapterPages)
    {
        _native = native;
        _scheduler = scheduler;
        _maxWaiting = maxWaiting;
        _logger = logger;
        _countsAdapterPages = countsAdapterPages;
    }

    /// Sequences that were never admitted, those on their way to the loop too.
    public int NumWaiting => Math.Max(0, Volatile.Read(ref _numWaiting));

    /// On any thread: room for a request's choices among those that wait; false: there is none.
    public bool TryReserve(int numChoices)
    {
        if (Interlocked.Add(ref _numWaiting, numChoices) <= _maxWaiting)
        {
            return true;
        }

        Interlocked.Add(ref _numWaiting, -numChoices);
        return false;
    }

    public void Dispose() => _waker.Dispose();

    // ---- begin

    public void Start(RequestTicket ticket)
    {
        _tickets.Add(ticket);
        ticket.NumLive = ticket.NumChoices;
        ticket.Sequences = new EngineSequence?[ticket.NumChoices];
        for (var choice = 0; choice < ticket.NumChoices; choice++)
        {
            var uses = Array.ConvertAll(ticket.Adapters, adapter => _scheduler.Adapters.GetOrAdd(adapter.Id, _countsAdapterPages ? adapter.Pages : 0));
            var sequence = new EngineSequence(new SequenceId(++_lastSequenceId), ticket, choice, uses);
            ticket.Sequences[choice] = sequence;
            _scheduler.Enqueue(sequence);
        }
    }

    /// False: a sequence that the plan admits could not be created, so the plan cannot run.
    public bool TryCreateAdmitted(BatchPlan plan)
    {
        var complete = true;
        foreach (var admitted in plan.Admitted)
        {
            complete &= TryCreate((EngineSequence)admitted);
        }

        return complete;
    }

    private bool TryCreate(EngineSequence sequence)
    {
        try
        {
            if (_native.CreateSequence(sequence.ToStart()) != StepStatus.Ok)
            {
                _scheduler.Unadmit(sequence);
                return false;
            }

            LeaveQueue(sequence);
            return true;
        }
        catch (SLoRAException error) when (!error.IsFatal)
        {
            Fail(sequence, error, isCreated: false);
            return false;
        }
    }

    private void LeaveQueue(EngineSequence sequence)
    {
        if (!sequence.WasAdmitted)
        {
            sequence.WasAdmitted = true;
            Interlocked.Decrement(ref _numWaiting);
        }
    }

    // ---- tokens

    /// Gives the sequences of a collected step their tokens. Their readers sleep on until WakeReaders.
    public void HandOut(BatchPlan plan, StepOutcome outcome)
    {
        var sequences = plan.Sequences;
        for (var i = 0; i < sequences.Length; i++)
        {
            var sequence = (EngineSequence)sequences[i];
            var row = outcome.Rows[i];
            _scheduler.Complete(sequence);
            if (row.IsSampled && !row.IsDropped && sequence.Phase != SequencePhase.Ended)
            {
                HandOut(sequence, row, outcome.Logprobs.AsSpan(row.LogprobsOffset, row.NumLogprobs));
            }
        }
    }

    public void WakeReaders() => _waker.Signal();

    private void HandOut(EngineSequence sequence, in RowOutcome row, ReadOnlySpan<TokenScore> top)
    {
        sequence.NumSampled++;
        var isStop = sequence.IsStop(row.TokenId);
        var isLast = sequence.NumPromptTokens + sequence.NumSampled == sequence.MaxTokens;
        FinishReason? finish = isStop ? FinishReason.Stop : isLast ? FinishReason.Length : null;
        var stream = sequence.Ticket.Stream;
        stream.Write(new TokenEvent(sequence.ChoiceIndex, row.TokenId, row.Logprob, row.NumLogprobs, finish, isStop), top);
        _waker.Mark(stream);
        if (finish is not null)
        {
            End(sequence);
        }
    }

    // ---- ends

    /// Ends a choice, or all (-1).
    public void Cancel(RequestTicket ticket, int choiceIndex)
    {
        for (var choice = 0; choice < ticket.Sequences.Length; choice++)
        {
            if ((choiceIndex < 0 || choiceIndex == choice) && ticket.Sequences[choice] is { } sequence)
            {
                End(sequence);
            }
        }
    }

    /// Ends the request of a sequence that could not run even alone: for `error`, or for want of pages.
    public void FailHopeless(EngineSequence sequence, OutOfDeviceMemoryException? error)
    {
        if (error is not null)
        {
            Fail(sequence, error, isCreated: true);
            return;
        }

        var pages = PageBudget.PagesFor(sequence.NumTokens, _native.Geometry.TokensPerPage);
        EngineLog.RequestHopeless(_logger, sequence.Ticket.Id, sequence.NumTokens, pages, _native.Geometry.NumPages);
        var message = $"{sequence.NumTokens} tokens need {pages} pages; pinned adapters leave too few of the {_native.Geometry.NumPages} pages even for this request alone";
        Fail(sequence, new OutOfDeviceMemoryException((int)StepStatus.DeferredPages, message), isCreated: true);
    }

    /// Tells every reader at once; the native engine is asked nothing more.
    public void FailAll(Exception reason)
    {
        foreach (var ticket in _tickets)
        {
            ticket.Stream.Fail(reason);
            ticket.Stream.Wake();
        }

        _tickets.Clear();
    }

    private void End(EngineSequence sequence, bool isCreated = true)
    {
        if (sequence.HasSlot && isCreated)
        {
            _native.ReleaseSequence(sequence.Id.Value);
        }

        _scheduler.End(sequence);
        LeaveQueue(sequence);
        var ticket = sequence.Ticket;
        ticket.Sequences[sequence.ChoiceIndex] = null;
        if (--ticket.NumLive == 0)
        {
            _tickets.Remove(ticket);
        }
    }

    private void Fail(EngineSequence sequence, Exception error, bool isCreated)
    {
        var ticket = sequence.Ticket;
        End(sequence, isCreated);
        Cancel(ticket, -1);
        ticket.Stream.Fail(error);
        _waker.Mark(ticket.Stream);
        _waker.Signal();
    }
}
