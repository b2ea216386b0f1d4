// Whole steps through the native engine, without a scheduler: decode at a context with the adapters of a set, prefill with
// and without. The managed twin of bench/step/bench_gpu_step.cpp.
using System.Diagnostics;
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Models;
using SLoRA.Bench.Replay;
using SLoRA.Engine.Native;
using SLoRA.Scheduling.Planning;

namespace SLoRA.Bench.Steps;

internal sealed class StepBench(INativeEngine engine, ModelShape shape, long weightBytes, int elementBytes, Ceilings ceilings) : IDisposable
{
    private const int WarmSteps = 8;

    private static readonly string[] s_modules = ["q", "k", "v", "o"];

    private readonly StepOutcome _outcome = new(engine.Geometry.MaxBatchRows, engine.Geometry.MaxLogprobs);
    private readonly List<INativeAdapter> _adapters = [];
    private readonly List<ulong> _sequences = [];
    private readonly PromptSource _prompts = new(7, engine.Geometry.VocabSize);
    private PlannedRow[] _rows = [];
    private ulong _lastId;

    public int Context { get; init; } = 512;

    public int MeasuredSteps { get; init; } = 48;

    /// lora_ranks in turn of a set by name, and whether its requests use them. Throws ArgumentException for an unknown name.
    public static (int[] LoraRanks, bool IsUsed) SetOf(string name) => name switch
    {
        "base" => ([], false),
        "idle" => ([8], false),
        "r8" => ([8], true),
        "r16" => ([16], true),
        "r64" => ([64], true),
        "mixed" => ([8, 16, 32, 64], true),
        _ => throw new ArgumentException($"there is no set '{name}'; the sets are base, idle, r8, r16, r64, mixed"),
    };

    /// Loads `count` adapters of a set in place of those before.
    public void Use(string set, int count)
    {
        Unload();
        var ranks = SetOf(set).LoraRanks;
        for (var i = 0; i < count && ranks.Length > 0; i++)
        {
            _adapters.Add(engine.LoadAdapter(new AdapterImage.Synthetic(ranks[i % ranks.Length], 100 + (ulong)i, s_modules), pinned: false, null, default));
        }
    }

    /// Steps of `batch` rows around the context, run ahead by one; each row has an adapter of its own.
    public DecodeStep Decode(string set, int batch)
    {
        var isUsed = SetOf(set).IsUsed;
        var prompt = Context - MeasuredSteps / 2 - WarmSteps;
        Create(batch, prompt, isUsed);
        PrefillAll(prompt);
        var deviceMicroseconds = new List<double>();
        var position = prompt;
        Submit(position++, 1);
        var begin = 0L;
        for (var i = 0; i < WarmSteps + MeasuredSteps; i++)
        {
            begin = i == WarmSteps ? Stopwatch.GetTimestamp() : begin;
            Submit(position++, 1);
            var nanoseconds = Collect();
            if (i >= WarmSteps)
            {
                deviceMicroseconds.Add(nanoseconds * 1e-3);
            }
        }

        var wall = Stopwatch.GetElapsedTime(begin).TotalMicroseconds / MeasuredSteps;
        Collect();
        Release();
        var bytes = weightBytes + (isUsed ? _adapters.Take(batch).Sum(adapter => adapter.Bytes) : 0) + (long)batch * Context * shape.KvBytesPerToken(elementBytes);
        return new DecodeStep(set, batch, Median(deviceMicroseconds), wall, bytes, bytes / ceilings.CopyBytesPerSecond * 1e6);
    }

    /// Steps of `tokens` prompt tokens in as many sequences as there are adapters, or in one.
    public PrefillStep Prefill(string name, int tokens, int rounds = 5)
    {
        var deviceMicroseconds = new List<double>();
        for (var round = 0; round < rounds; round++)
        {
            var rows = Math.Max(1, _adapters.Count);
            Create(rows, tokens / rows, isUsed: true);
            Submit(0, tokens / rows);
            deviceMicroseconds.Add(Collect() * 1e-3);
            Release();
        }

        // The first round makes adapters resident and chooses kernels.
        var matmul = ceilings.Matmuls.First(measured => measured.Tokens == tokens).SecondsPerLayer * shape.NumLayers * 1e6;
        return new PrefillStep(name, tokens, Median([.. deviceMicroseconds.Skip(1)]), matmul);
    }

    public void Dispose()
    {
        Release();
        Unload();
    }

    private static double Median(List<double> values)
    {
        values.Sort();
        return values[values.Count / 2];
    }

    private void Unload()
    {
        foreach (var adapter in _adapters)
        {
            adapter.Dispose();
        }

        _adapters.Clear();
    }

    private void Create(int count, int promptTokens, bool isUsed)
    {
        for (var i = 0; i < count; i++)
        {
            SequenceAdapter[] adapters = isUsed && _adapters.Count > 0 ? [new SequenceAdapter(_adapters[i % _adapters.Count].Id, 1, _adapters[i % _adapters.Count].Pages)] : [];
            var start = new SequenceStart(++_lastId, _prompts.Make(i, promptTokens), engine.Geometry.MaxContext, adapters, SamplingOptions.Greedy, 0);
            if (engine.CreateSequence(start) != StepStatus.Ok)
            {
                throw new ArgumentException($"a batch of {count} is more than the engine's {engine.Geometry.MaxSequences} sequences");
            }

            _sequences.Add(_lastId);
        }

        _rows = new PlannedRow[count];
    }

    private void PrefillAll(int promptTokens)
    {
        var rowsAStep = Math.Max(1, engine.Geometry.MaxBatchTokens / promptTokens);
        foreach (var ids in _sequences.Chunk(rowsAStep))
        {
            Submit([.. ids.Select(id => new PlannedRow(id, promptTokens, 0, Sample: true))]);
            Collect();
        }
    }

    private void Submit(int firstToken, int numTokens)
    {
        for (var i = 0; i < _rows.Length; i++)
        {
            _rows[i] = new PlannedRow(_sequences[i], numTokens, firstToken, Sample: true);
        }

        Submit(_rows);
    }

    private void Submit(PlannedRow[] rows)
    {
        var status = engine.Submit(rows, []);

        // An adapter on its way or a slow copy is waited for; pages that lack are not.
        for (var tries = 0; status == StepStatus.DeferredAdapter && tries < 10_000; tries++)
        {
            Thread.Sleep(1);
            status = engine.Submit(rows, []);
        }

        if (status != StepStatus.Ok)
        {
            throw new ArgumentException($"a step of {rows.Length} rows was refused with {status}: the pool of {engine.Geometry.NumPages} pages is too small for it");
        }
    }

    private long Collect() => engine.Collect(_outcome) == StepStatus.Ok ? _outcome.DeviceNs : throw new InvalidOperationException("no step was in flight");

    private void Release()
    {
        foreach (var id in _sequences)
        {
            engine.ReleaseSequence(id);
        }

        _sequences.Clear();
    }
}
