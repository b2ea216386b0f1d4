// Made-up reports with every part filled in, for tests of what shows them.
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Bounds;
using SLoRA.Bench.Results;
using SLoRA.Bench.Statistics;

namespace SLoRA.Bench.Tests;

internal static class Samples
{
    private static readonly int[] s_counts = [1, 5, 100, 1000, 2000];

    /// Two sets over all counts in the default mode at two rates, and other modes in some cells.
    public static ReplayReport[] Table() =>
    [
        .. s_counts.Select((n, i) => Report("S1", n, "default", 60, 33 - i * 0.4)),
        .. s_counts.Select((n, i) => Report("S2", n, "default", 60, 32 - i * 1.3)),
        Report("S2", 1000, "default", 10, 9.9),
        .. new[] { "split", "bmm", "merge" }.SelectMany((mode, i) => new[] { 5, 100, 1000 }.Select(n => Report("S2", n, mode, 60, 25 - 7 * i - n * 0.002))),
    ];

    public static ReplayReport Report(string set, int adapters, string mode, double rate, double requestsPerSecond)
    {
        var window = new WindowSummary(20, 60, (long)(requestsPerSecond * 40 * 258), (int)(requestsPerSecond * 40), requestsPerSecond * 258, requestsPerSecond);
        return new ReplayReport
        {
            Environment = new BenchEnvironment
            {
                Backend = "cuda",
                Device = "NVIDIA H100 80GB HBM3",
                Features = "sm_90",
                DeviceGib = 79.2,
                Driver = "580.159.04",
                NativeBuild = "slora 0.1.0 (12.2.0, optimised)",
                Version = "0.1.0",
                Commit = "0123456789abcdef0123456789abcdef01234567",
                Command = "slora bench paper --synthetic llama-7b --sets S1,S2 --n 1,5,100,1000,2000 --modes default,split,bmm,merge <&>",
                Runtime = ".NET 10.0.12",
                Cores = 16,
                StartedAt = "2026-01-01T00:00:00Z",
            },
            Model = "llama-7b",
            Dtype = "bf16",
            Target = "engine",
            Mode = mode,
            Trace = new TraceSummary($"n{adapters}-r{rate}", (int)rate * 60, adapters, adapters, 900_000, 930_000, 60.4),
            Adapters = new AdapterSummary(set, 2000, AdapterSet.Paper[set], "q,k,v,o", 512, 32_000_000_000, 31),
            Results = new ReplaySummary
            {
                Sent = 3600,
                Completed = 3600,
                WallSeconds = 3600 / requestsPerSecond,
                RequestsPerSecond = requestsPerSecond,
                OutputTokensPerSecond = requestsPerSecond * 258,
                TotalTokensPerSecond = requestsPerSecond * 517,
                FirstToken = new Distribution(3600, 20, 19, 38, 44, 46),
                TimePerToken = new Distribution(3600, 0.031, 0.03, 0.04, 0.06, 0.2),
                Latency = new Distribution(3600, 28, 27, 46, 55, 61),
                SloSeconds = 6,
                SloAttainment = rate > 30 ? 0.34 - adapters * 0.0001 : 0.998,
                SendDelay = new Distribution(3600, 0.001, 0.001, 0.001, 0.002, 0.01),
                Window = window,
            },
            Engine = new EngineSummary
            {
                TotalPages = 7629,
                TokensPerPage = 16,
                PageBytes = 8_388_608,
                AdapterLoads = adapters * 2,
                AdapterLoadBytes = adapters * 63_000_000L,
                AdapterHits = 900_000,
                StepHitRate = 0.995,
                RequestHitRate = 1 - adapters / 2500.0,
                LargestBatch = 291,
                LargestDecodeBatch = 288,
                LargestAdaptersInStep = Math.Min(adapters, 250),
                StepMilliseconds = new Distribution(4000, 28, 27, 33, 60, 90),
                DecodeStepMilliseconds = new Distribution(3000, 25, 25, 29, 31, 33),
                DeviceBusy = 0.98,
            },
            Ceilings = new Ceilings(2.99e12, 5.4e10, [new MatmulCeiling(2048, 0.001, 6.4e14)]),
            Bound = new BoundSummary
            {
                WallSeconds = 106,
                RequestsPerSecond = 34 - adapters * 0.003,
                OutputTokensPerSecond = 8700,
                FirstToken = new Distribution(3600, 18, 17, 35, 41, 43),
                TimePerToken = new Distribution(3600, 0.028, 0.028, 0.03, 0.03, 0.04),
                LargestBatch = 310,
                Window = window,
            },
            Series = [.. Enumerable.Range(1, 120).Select(i => new TimePoint(i * 0.9, 200 + 60 * Math.Sin(i * 0.2), 190, Math.Min(adapters, 180), 9000, 8500, 400, 5200 - i * 3, 2029 + i * 3, 120))],
        };
    }
}
