// A pool and the step transaction as the C ABI states them, without a model: refuses every plan that breaks a rule, defers
// when pages are short, and samples nothing but "a token". The oracle of the scheduler's property tests.
using SLoRA.Scheduling.Planning;

namespace SLoRA.Scheduling.Tests;

internal sealed class SimulatedEngine(SchedulerLimits limits)
{
    private readonly Dictionary<ulong, Sequence> _sequences = [];
    private readonly Dictionary<ulong, int> _resident = [];
    private readonly Queue<List<PlannedRow>> _inFlight = new();

    public int NumInFlight => _inFlight.Count;

    public int NumSequences => _sequences.Count;

    public int MaxTokensSeen { get; private set; }

    public int KvPages => _sequences.Values.Sum(sequence => sequence.Pages(limits.TokensPerPage));

    public int AdapterPages => _resident.Values.Sum();

    public int FreePages => limits.TotalPages - KvPages - AdapterPages;

    public PoolState Pool => new(FreePages, _resident.Where(adapter => !IsHeld(adapter.Key)).Sum(adapter => adapter.Value));

    public void Create(ulong id, int promptTokens, AdapterUse[] adapters)
    {
        Require(_sequences.Count < limits.MaxSequences, "no slot left");
        Require(_sequences.TryAdd(id, new Sequence(promptTokens, adapters)), $"sequence {id} exists");
    }

    public void Release(ulong id)
    {
        var sequence = _sequences[id];
        Require(!sequence.IsReleased, $"sequence {id} released twice");
        sequence.IsReleased = true;
        RemoveIfGone(id);
    }

    public void Preempt(ulong id)
    {
        Require(_sequences[id].InFlight == 0, $"sequence {id} preempted in flight");
        _sequences[id].Computed = 0;
    }

    public bool Submit(BatchPlan plan)
    {
        Require(_inFlight.Count < 2, "two steps are in flight");
        Require(plan.NumRows >= 1 && plan.NumRows <= limits.MaxBatchRows, $"{plan.NumRows} rows");
        CheckRows(plan);
        if (!TryReserve(plan))
        {
            return false;
        }

        foreach (var row in plan.Rows)
        {
            var sequence = _sequences[row.SequenceId];
            sequence.Computed += row.NumTokens;
            sequence.Tokens += row.Sample ? 1 : 0;
            sequence.InFlight++;
        }

        _inFlight.Enqueue([.. plan.Rows]);
        return true;
    }

    public List<(PlannedRow Row, bool Dropped)> Collect()
    {
        var results = new List<(PlannedRow, bool)>();
        foreach (var row in _inFlight.Dequeue())
        {
            var sequence = _sequences[row.SequenceId];
            sequence.InFlight--;
            results.Add((row, sequence.IsReleased));
            RemoveIfGone(row.SequenceId);
        }

        return results;
    }

    public void Check() => Require(FreePages >= 0 && KvPages + AdapterPages + FreePages == limits.TotalPages, "page accounting");

    private void CheckRows(BatchPlan plan)
    {
        var tokens = 0;
        var seen = new HashSet<ulong>();
        foreach (var row in plan.Rows)
        {
            var sequence = _sequences[row.SequenceId];
            Require(seen.Add(row.SequenceId), $"two rows of {row.SequenceId}");
            Require(!sequence.IsReleased, $"row of released {row.SequenceId}");
            Require(row.FirstToken == sequence.Computed, $"first_token {row.FirstToken}, computed {sequence.Computed}");
            Require(row.NumTokens >= 1 && row.FirstToken + row.NumTokens <= sequence.Tokens, "row past the history");
            Require(row.Sample == (row.FirstToken + row.NumTokens == sequence.Tokens), "sample not at the end of the history");
            tokens += row.NumTokens;
        }

        Require(tokens <= limits.MaxBatchTokens && tokens == plan.NumTokens, $"{tokens} tokens");
        MaxTokensSeen = Math.Max(MaxTokensSeen, tokens);
    }

    private bool TryReserve(BatchPlan plan)
    {
        var rows = plan.Rows.ToArray();
        var missing = rows.SelectMany(row => _sequences[row.SequenceId].Adapters).Where(adapter => !_resident.ContainsKey(adapter.Id)).Distinct().ToList();
        var needed = missing.Sum(adapter => adapter.Pages) + rows.Sum(row => _sequences[row.SequenceId].PagesToGrow(row.NumTokens, limits.TokensPerPage));
        foreach (var idle in _resident.Keys.Where(id => !IsHeld(id)).ToList())
        {
            if (needed <= FreePages)
            {
                break;
            }

            _resident.Remove(idle);
            Evicted.Add(idle);
        }

        if (needed > FreePages)
        {
            return false;
        }

        missing.ForEach(adapter => _resident.Add(adapter.Id, adapter.Pages));
        Loaded.AddRange(missing.Select(adapter => adapter.Id));
        return true;
    }

    public List<ulong> Loaded { get; } = [];

    public List<ulong> Evicted { get; } = [];

    private bool IsHeld(ulong adapterId) => _sequences.Values.Any(sequence => sequence.Adapters.Any(adapter => adapter.Id == adapterId));

    private void RemoveIfGone(ulong id)
    {
        if (_sequences[id] is { IsReleased: true, InFlight: 0 })
        {
            _sequences.Remove(id);
        }
    }

    private static void Require(bool holds, string message)
    {
        if (!holds)
        {
            throw new InvalidOperationException(message);
        }
    }

    private sealed class Sequence(int promptTokens, AdapterUse[] adapters)
    {
        public AdapterUse[] Adapters { get; } = adapters;

        public int Tokens { get; set; } = promptTokens;

        public int Computed { get; set; }

        public int InFlight { get; set; }

        public bool IsReleased { get; set; }

        public int Pages(int tokensPerPage) => (Computed + tokensPerPage - 1) / tokensPerPage;

        public int PagesToGrow(int tokens, int tokensPerPage) => (Computed + tokens + tokensPerPage - 1) / tokensPerPage - Pages(tokensPerPage);
    }
}
