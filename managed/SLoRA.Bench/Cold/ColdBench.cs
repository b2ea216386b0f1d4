// First tokens with warm and with cold adapters, one request at a time, while other sequences decode. Warm and cold requests
// take turns, so that both see the same neighbours.
using System.Collections.Concurrent;
using System.Diagnostics;
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Replay;
using SLoRA.Bench.Results;
using SLoRA.Bench.Statistics;
using SLoRA.Engine;

namespace SLoRA.Bench.Cold;

internal sealed class ColdBench(SLoRAEngine engine, AdapterSet set, Ceilings ceilings)
{
    // What a request's answer may take before the measurement is given up.
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(2);

    // Between two requests, for the neighbours to fall into step again.
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(200);

    private readonly PromptSource _prompts = new(7, engine.Info.Limits.VocabularySize);
    private int _numPrompts;

    public int PromptTokens { get; init; } = 128;

    public int Others { get; init; } = 8;

    /// The first adapter of the set is the warm one; each other serves once.
    public async Task<ColdReport> RunAsync(IProgress<PartProgress>? progress, CancellationToken ct)
    {
        var environment = BenchEnvironment.Read(engine.Info.Backend, engine.Info.NativeBuild);
        var others = Enumerable.Range(0, Others).Select(_ => new Neighbour(engine, () => Request(null, engine.Info.Limits.MaxContextTokens - PromptTokens))).ToArray();
        try
        {
            foreach (var other in others)
            {
                await other.StartAsync().ConfigureAwait(false);
            }

            return await MeasureAsync(environment, others, progress, ct).ConfigureAwait(false);
        }
        finally
        {
            foreach (var other in others)
            {
                other.Stop();
            }
        }
    }

    private async Task<ColdReport> MeasureAsync(BenchEnvironment environment, Neighbour[] others, IProgress<PartProgress>? progress, CancellationToken ct)
    {
        // Makes the first adapter resident, and every kernel and graph of these steps known.
        for (var i = 0; i < 3; i++)
        {
            await FirstTokenAsync(AdapterSet.NameOf(0), ct).ConfigureAwait(false);
        }

        var warm = new List<(long From, long To)>();
        var cold = new List<(long From, long To)>();
        for (var i = 1; i < set.Count; i++)
        {
            warm.Add(await FirstTokenAsync(AdapterSet.NameOf(0), ct).ConfigureAwait(false));
            cold.Add(await FirstTokenAsync(AdapterSet.NameOf(i), ct).ConfigureAwait(false));
            progress?.Report(new PartProgress("cold adapters", i, set.Count - 1));
        }

        return new ColdReport
        {
            Environment = environment,
            Model = engine.Info.ModelName,
            Dtype = engine.Info.ComputeDtype,
            LoraRank = set.RankOf(0),
            AdapterBytes = engine.Adapters.Find(AdapterSet.NameOf(0))!.Bytes,
            PromptTokens = PromptTokens,
            Others = Others,
            Ceilings = ceilings,
            WarmFirstToken = Distribution.Of(warm.Select(Seconds)),
            ColdFirstToken = Distribution.Of(cold.Select(Seconds)),
            OthersPerTokenWarm = PerToken(others, warm),
            OthersPerTokenCold = PerToken(others, cold),
        };
    }

    private static double Seconds((long From, long To) span) => Stopwatch.GetElapsedTime(span.From, span.To).TotalSeconds;

    // Gaps between tokens that lie in a span at least in part, one gap counted by the share of it that does.
    private static double PerToken(Neighbour[] others, List<(long From, long To)> spans)
    {
        var time = 0.0;
        var tokens = 0.0;
        foreach (var (begin, end) in others.SelectMany(other => other.Gaps()))
        {
            foreach (var (from, to) in spans)
            {
                var overlap = Math.Min(end, to) - Math.Max(begin, from);
                if (overlap > 0)
                {
                    time += Stopwatch.GetElapsedTime(0, overlap).TotalSeconds;
                    tokens += overlap / (double)(end - begin);
                }
            }
        }

        return tokens > 0 ? time / tokens : 0;
    }

    private GenerationRequest Request(string? adapter, int maxOutput) => new()
    {
        Prompt = Prompt.FromTokens(_prompts.Make(Interlocked.Increment(ref _numPrompts), PromptTokens)),
        Adapters = adapter is null ? [] : [adapter],
        MaxOutputTokens = maxOutput,
        IgnoreEos = true,
    };

    private async Task<(long From, long To)> FirstTokenAsync(string adapter, CancellationToken ct)
    {
        await Task.Delay(s_pause, ct).ConfigureAwait(false);
        var observer = new OneToken();
        var from = Stopwatch.GetTimestamp();
        await engine.ObserveAsync(Request(adapter, 1), observer).ConfigureAwait(false);
        return (from, await observer.At.Task.WaitAsync(s_patience, ct).ConfigureAwait(false));
    }

    private sealed class OneToken : ITokenObserver
    {
        public TaskCompletionSource<long> At { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public void OnTokens(int numTokens, bool isLast, Exception? error)
        {
            _ = error is null ? At.TrySetResult(Stopwatch.GetTimestamp()) : At.TrySetException(error);
        }
    }

    // A sequence that decodes for as long as the measurement lasts: when it has reached the end of its context, the next
    // takes its place.
    private sealed class Neighbour(SLoRAEngine engine, Func<GenerationRequest> request) : ITokenObserver
    {
        private readonly ConcurrentQueue<(long Begin, long End)> _gaps = new();
        private ObservedRequest? _running;
        private long _lastAt;
        private volatile bool _isStopping;

        public (long Begin, long End)[] Gaps() => [.. _gaps];

        public async Task StartAsync() => _running = await engine.ObserveAsync(request(), this).ConfigureAwait(false);

        public void Stop()
        {
            _isStopping = true;
            _running?.Cancel();
        }

        public void OnTokens(int numTokens, bool isLast, Exception? error)
        {
            var now = Stopwatch.GetTimestamp();
            if (numTokens > 0 && _lastAt > 0)
            {
                _gaps.Enqueue((_lastAt, now));
            }

            _lastAt = isLast ? 0 : now;
            if (isLast && error is null && !_isStopping)
            {
                // Not on the engine's thread.
                _ = Task.Run(StartAsync);
            }
        }
    }
}
