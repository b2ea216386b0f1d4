// A whole measurement of steps: each set's decode steps by rows, then prefill with and without adapters.
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Models;
using SLoRA.Bench.Results;
using SLoRA.Bench.Statistics;
using SLoRA.Engine;

namespace SLoRA.Bench.Steps;

/// Batches: rows of decode steps, at least one. Prefill: tokens of prefill steps. Context: tokens of each sequence in decode
/// steps.
internal sealed record StepPlan(IReadOnlyList<string> Sets, IReadOnlyList<int> Batches, IReadOnlyList<int> Prefill, int Context)
{
    public const int PrefillAdapters = 8;

    // Ranks of 64 in large batches would not fit a card beside the KV.
    private const int LargestBatchOfLargeRanks = 64;

    private const int LeastContext = 64;

    public int NumSteps => Sets.Sum(set => BatchesOf(set).Length) + 2 * Prefill.Count;

    public int[] BatchesOf(string set) => set is "r64" or "mixed" ? [.. Batches.Where(batch => batch <= LargestBatchOfLargeRanks)] : [.. Batches];

    /// Throws ArgumentException with the value and the limit.
    public void Validate()
    {
        _ = Sets.Select(StepBench.SetOf).ToArray();
        if (Context < LeastContext)
        {
            throw new ArgumentException($"--context is {Context}; it must be at least {LeastContext}");
        }
    }
}

internal sealed class StepMeasurement(StepPlan plan, IProgress<PartProgress>? progress)
{
    private int _done;

    public StepReport Run(SLoRAOptions options)
    {
        plan.Validate();
        var shape = ModelShape.Read(options.Model.Path);
        var ceilings = Ceilings.Measure(shape, options.Native, options.Model.Dtype, plan.Prefill.Count > 0 ? plan.Prefill : null);
        var longestPrefill = plan.Prefill.DefaultIfEmpty().Max();
        options.Scheduler.MaxSequences = Math.Max(plan.Batches.Max(), StepPlan.PrefillAdapters);
        options.Scheduler.MaxBatchTokens = Math.Max(longestPrefill, Math.Max(2048, plan.Context));
        options.Memory.MaxContext = Math.Max(longestPrefill, plan.Context) + 64;
        var (engine, info) = EngineLoader.LoadBare(options, null, default);
        using var owned = engine;
        var elementBytes = options.Model.Dtype == ComputeDtype.F32 ? sizeof(float) : sizeof(short);
        using var bench = new StepBench(engine, shape, info.WeightBytes, elementBytes, ceilings) { Context = plan.Context };
        return new StepReport
        {
            Environment = BenchEnvironment.Read(info.Backend, info.NativeBuild),
            Model = info.ModelName,
            Dtype = info.ComputeDtype,
            Context = plan.Context,
            Ceilings = ceilings,
            Decode = [.. plan.Sets.SelectMany(set => DecodeSet(bench, set))],
            Prefill = [.. Prefill(bench, "base", "base", 0), .. Prefill(bench, $"{StepPlan.PrefillAdapters} x r64", "r64", StepPlan.PrefillAdapters)],
        };
    }

    private IEnumerable<DecodeStep> DecodeSet(StepBench bench, string set)
    {
        var batches = plan.BatchesOf(set);
        bench.Use(set, batches.DefaultIfEmpty().Max());
        foreach (var batch in batches)
        {
            var step = bench.Decode(set, batch);
            Tell($"steps: decode {set}, {batch} rows");
            yield return step;
        }
    }

    private IEnumerable<PrefillStep> Prefill(StepBench bench, string name, string set, int adapters)
    {
        bench.Use(set, adapters);
        foreach (var tokens in plan.Prefill)
        {
            var step = bench.Prefill(name, tokens);
            Tell($"steps: prefill {name}, {tokens} tokens");
            yield return step;
        }
    }

    private void Tell(string part) => progress?.Report(new PartProgress(part, ++_done, plan.NumSteps));
}
