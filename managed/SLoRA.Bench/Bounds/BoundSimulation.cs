// What a machine could do at best on a trace. Each step reads the weights, each distinct adapter of its rows and the KV of
// its decoding rows once at the measured bandwidth, then computes the prompts of what it admits at the measured matmul rate;
// every running request gets a token a step. The pool is the engine's, its use ideal: KV takes tokens, not pages, adapters
// stay only while somebody uses them, loads cost nothing, and admission, first come first served, knows how long outputs
// will be, so that nothing is ever computed twice.
using SLoRA.Bench.Replay;
using SLoRA.Bench.Results;
using SLoRA.Bench.Statistics;
using SLoRA.Bench.Traces;

namespace SLoRA.Bench.Bounds;

internal sealed class BoundSimulation(BoundMachine machine, Trace trace, ReplayWindow window)
{
    // By EndStep, the last to end first. A row: its context at step 0 of the count would be BaseTokens, so at step s it is
    // BaseTokens + s.
    private readonly List<Row> _rows = [];
    private readonly Dictionary<int, int> _users = [];
    private readonly int[] _seenInScan = new int[Math.Max(1, trace.NumAdapters)];
    private readonly double[] _firstToken = new double[trace.Requests.Count];
    private readonly double[] _lastToken = new double[trace.Requests.Count];

    private int _scan;
    private int _step;
    private int _arrived;
    private int _head;
    private double _now;
    private long _adapterBytes;
    private long _windowTokens;
    private int _largestBatch;

    public BoundSummary Run()
    {
        while (_head < trace.Requests.Count || _rows.Count > 0)
        {
            Arrive();
            var prefillTokens = Admit();
            if (_rows.Count == 0)
            {
                Idle();
                continue;
            }

            Step(prefillTokens);
        }

        return Summarise();
    }

    private void Arrive()
    {
        while (_arrived < trace.Requests.Count && trace.Requests[_arrived].Seconds <= _now)
        {
            _arrived++;
        }
    }

    // Nobody runs: either nobody has come yet, or the first that waits does not fit even alone.
    private void Idle()
    {
        if (_head < _arrived)
        {
            var request = trace.Requests[_head];
            throw new ArgumentException($"request {_head} of the trace, {request.PromptTokens} + {request.OutputTokens} tokens with adapter {request.Adapter}, does not fit a pool of {machine.TotalPages} pages");
        }

        _now = trace.Requests[_arrived].Seconds;
    }

    private int Admit()
    {
        var prefillTokens = 0;
        while (_head < _arrived && TryInsert(_head))
        {
            prefillTokens += trace.Requests[_head++].PromptTokens;
        }

        _largestBatch = Math.Max(_largestBatch, _rows.Count);
        return prefillTokens;
    }

    private bool TryInsert(int index)
    {
        var request = trace.Requests[index];

        // The step that admits it gives its first token; at its last step it has all but that step's token in the cache.
        var row = new Row(index, request.Adapter, request.PromptTokens - _step, _step + request.OutputTokens - 1);
        var place = _rows.FindIndex(other => other.EndStep < row.EndStep);
        _rows.Insert(place < 0 ? _rows.Count : place, row);
        if (!WillFit())
        {
            _rows.Remove(row);
            return false;
        }

        Use(row.Adapter, 1);
        return true;
    }

    // At each end of a row, those that end then or later are there with all they have grown to: between ends use only
    // rises, so these are its peaks.
    private bool WillFit()
    {
        _scan++;
        var baseTokens = 0L;
        var adapterPages = 0L;
        for (var i = 0; i < _rows.Count; i++)
        {
            var row = _rows[i];
            baseTokens += row.BaseTokens;
            adapterPages += FirstSeenPages(row.Adapter);
            var tokens = baseTokens + (long)(i + 1) * row.EndStep;
            if ((double)tokens / machine.TokensPerPage + adapterPages > machine.TotalPages)
            {
                return false;
            }
        }

        return true;
    }

    private int FirstSeenPages(int adapter)
    {
        if (adapter < 0 || _seenInScan[adapter] == _scan)
        {
            return 0;
        }

        _seenInScan[adapter] = _scan;
        return machine.AdapterSize(adapter).Pages;
    }

    private void Use(int adapter, int change)
    {
        if (adapter < 0)
        {
            return;
        }

        var before = _users.GetValueOrDefault(adapter);
        _users[adapter] = before + change;
        if (before == 0 || before + change == 0)
        {
            _adapterBytes += change * machine.AdapterSize(adapter).Bytes;
        }
    }

    private void Step(int prefillTokens)
    {
        var context = 0L;
        foreach (var row in _rows)
        {
            // A prompt that is computed now has its keys and values at hand.
            if (_firstToken[row.Index] > 0)
            {
                context += row.BaseTokens + _step;
            }
        }

        var bytes = machine.WeightBytes + _adapterBytes + context * machine.KvBytesPerToken;
        _now += bytes / machine.BytesPerSecond + prefillTokens * machine.PrefillOperationsPerToken / machine.OperationsPerSecond;
        foreach (var row in _rows)
        {
            _firstToken[row.Index] = _firstToken[row.Index] > 0 ? _firstToken[row.Index] : _now;
        }

        _windowTokens += _now >= window.FromSeconds && _now < window.ToSeconds ? _rows.Count : 0;
        while (_rows.Count > 0 && _rows[^1].EndStep == _step)
        {
            _lastToken[_rows[^1].Index] = _now;
            Use(_rows[^1].Adapter, -1);
            _rows.RemoveAt(_rows.Count - 1);
        }

        _step++;
    }

    private BoundSummary Summarise()
    {
        var completions = _lastToken.Count(seconds => seconds >= window.FromSeconds && seconds < window.ToSeconds);
        return new BoundSummary
        {
            WallSeconds = _now,
            RequestsPerSecond = trace.Requests.Count / _now,
            OutputTokensPerSecond = trace.OutputTokens / _now,
            FirstToken = Distribution.Of(_firstToken.Select((seconds, i) => seconds - trace.Requests[i].Seconds)),
            TimePerToken = Distribution.Of(_lastToken.Select((seconds, i) => (seconds - _firstToken[i]) / (trace.Requests[i].OutputTokens - 1)).Where(double.IsFinite)),
            LargestBatch = _largestBatch,
            Window = new WindowSummary(window.FromSeconds, window.ToSeconds, _windowTokens, completions, _windowTokens / window.Seconds, completions / window.Seconds),
        };
    }

    private sealed record Row(int Index, int Adapter, long BaseTokens, int EndStep);
}
