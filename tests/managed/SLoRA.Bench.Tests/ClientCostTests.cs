// What the client costs the engine: counting tokens allocates nothing on the thread that hands them out.
using System.Diagnostics;
using SLoRA.Bench.Replay;
using SLoRA.Bench.Traces;

namespace SLoRA.Bench.Tests;

public class ClientCostTests
{
    [Fact]
    public void A_token_costs_no_allocation_and_under_two_microseconds()
    {
        const int Count = 200_000;
        var run = new ReplayRun(ReplayWindow.Default);
        run.Start();
        var request = new ReplayRequest(new TraceRequest(0, 0, 1, Count), 0, [1], null, run);
        request.OnTokens(1, isLast: false, null);
        var before = GC.GetAllocatedBytesForCurrentThread();
        var watch = Stopwatch.GetTimestamp();
        for (var i = 0; i < Count; i++)
        {
            request.OnTokens(1, isLast: false, null);
        }

        var each = Stopwatch.GetElapsedTime(watch).TotalNanoseconds / Count;
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        TestContext.Current.TestOutputHelper!.WriteLine($"{each:F1} ns a token");
        Assert.Equal(Count + 1, request.NumTokens);

        // 10,000 tokens a second leave 100 us each; the margin is for a busy machine.
        Assert.InRange(each, 1, 2000);
    }
}
