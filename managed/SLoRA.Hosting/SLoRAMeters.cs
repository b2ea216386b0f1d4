// The meter "SLoRA": the engine's own instruments (slora.*) and the server ones of the GenAI conventions. Gauges read the
// engine's counters when they are collected; nothing is pushed from the loop's thread.
using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace SLoRA.Hosting;

internal sealed class SLoRAMeters : IDisposable
{
    public const string MeterName = "SLoRA";

    private const int MaxAdapterLabels = 100;
    private static readonly double[] s_latencyBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

    private readonly Meter _meter;
    private readonly AdapterLabel _labels = new(MaxAdapterLabels);
    private readonly Histogram<double> _duration;
    private readonly Histogram<double> _firstToken;
    private readonly Histogram<double> _perToken;
    private readonly Histogram<double> _adapterLoad;
    private SLoRAEngine? _engine;

    // Hosts register a factory; a bare service collection may not.
    public SLoRAMeters(IMeterFactory? meters = null)
    {
        _meter = meters?.Create(MeterName) ?? new Meter(MeterName);
        _duration = Seconds("gen_ai.server.request.duration", "Time from the request to its last token.");
        _firstToken = Seconds("gen_ai.server.time_to_first_token", "Time from the request to its first token.");
        _perToken = Seconds("gen_ai.server.time_per_output_token", "Mean time of a token after the first.");
        _adapterLoad = Seconds("slora.adapter.load.duration", "Time to read and pack an adapter.");
        Gauge("slora.scheduler.queue.length", "{sequence}", "Sequences that wait for admission.", now => now.Queued);
        Gauge("slora.scheduler.running", "{sequence}", "Sequences that are admitted.", now => now.Running);
        Gauge("slora.batch.tokens", "{token}", "Tokens of the last step.", now => now.LastBatchTokens);
        Gauge("slora.batch.adapters", "{adapter}", "Distinct adapters of the last step.", now => now.LastBatchAdapters);
        Counter("slora.adapter.loads", "{load}", "Copies of an adapter into pages.", now => now.AdapterLoads);
        Counter("slora.adapter.evictions", "{eviction}", "Adapters whose pages were taken.", now => now.AdapterEvictions);
        Counter("slora.scheduler.preemptions", "{sequence}", "Sequences that gave their pages back.", now => now.Preemptions);
        Counter("slora.tokens", "{token}", "Tokens run in all steps.", now => now.Tokens);
        Gauge("slora.recording.count", "{recording}", "Recorded decode steps that are kept.", now => now.Recordings);
        Gauge("slora.recording.memory", "By", "Device memory that they hold.", now => now.RecordingBytes);
        Counter("slora.recording.made", "{recording}", "Decode steps recorded, at start and on use.", now => now.RecordingsMade);
        Counter("slora.recording.replays", "{step}", "Steps that ran as a recording.", now => now.ReplayedSteps);
        _meter.CreateObservableGauge("slora.memory.pages", MeasurePages, "{page}", "Pages of the pool by owner.");
        _meter.CreateObservableGauge("slora.adapter.resident", MeasureResidency, "{adapter}", "Adapters by tier.");
    }

    public void Attach(SLoRAEngine engine)
    {
        _engine = engine;
        engine.RequestEnded = Record;
        engine.AdapterRead = duration => _adapterLoad.Record(duration.TotalSeconds);
    }

    public void Dispose() => _meter.Dispose();

    private void Record(Engine.RequestSummary request)
    {
        var tags = Tags(request);
        _duration.Record(request.Duration.TotalSeconds, tags);
        if (request.TimeToFirstToken is not { } first)
        {
            return;
        }

        _firstToken.Record(first.TotalSeconds, tags);
        if (request.Usage.CompletionTokens > 1)
        {
            _perToken.Record((request.Duration - first).TotalSeconds / (request.Usage.CompletionTokens - 1), tags);
        }
    }

    private TagList Tags(Engine.RequestSummary request)
    {
        var tags = new TagList
        {
            { "gen_ai.operation.name", "chat" },
            { "gen_ai.provider.name", "slora" },
            { "gen_ai.request.model", request.Adapter is null ? _engine?.Info.ModelName : _labels.For(request.Adapter) },
        };
        if (request.Error is not null)
        {
            tags.Add("error.type", request.Error.GetType().Name);
        }

        return tags;
    }

    private Histogram<double> Seconds(string name, string description) =>
        _meter.CreateHistogram(name, "s", description, advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = s_latencyBuckets });

    private void Gauge(string name, string unit, string description, Func<EngineStatistics, long> read) =>
        _meter.CreateObservableGauge(name, () => Measure(read), unit, description);

    private void Counter(string name, string unit, string description, Func<EngineStatistics, long> read) =>
        _meter.CreateObservableCounter(name, () => Measure(read), unit, description);

    private Measurement<long>[] Measure(Func<EngineStatistics, long> read) =>
        _engine is { } engine ? [new Measurement<long>(read(engine.GetStatistics()))] : [];

    private Measurement<long>[] MeasurePages()
    {
        if (_engine?.GetStatistics() is not { } now)
        {
            return [];
        }

        return [Owned(now.KvPages, "kv"), Owned(now.AdapterPages, "adapter"), Owned(now.FreePages, "free")];

        static Measurement<long> Owned(int pages, string owner) => new(pages, new KeyValuePair<string, object?>("owner", owner));
    }

    private Measurement<long>[] MeasureResidency()
    {
        if (_engine?.GetStatistics() is not { } now)
        {
            return [];
        }

        return [Tier(now.ResidentAdapters, "device"), Tier(now.HostAdapters, "host")];

        static Measurement<long> Tier(int adapters, string tier) => new(adapters, new KeyValuePair<string, object?>("tier", tier));
    }
}
