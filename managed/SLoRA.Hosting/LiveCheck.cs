// Whether the process should be left alone: the loop goes round.
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace SLoRA.Hosting;

internal sealed class LiveCheck(EngineHost host, TimeProvider time) : IHealthCheck
{
    // Far longer than any step: a loop that is silent this long hangs in the device or in us.
    private static readonly TimeSpan MaxSilence = TimeSpan.FromMinutes(1);

    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(Check());

    private HealthCheckResult Check()
    {
        if (host.EngineOrNull is not { } engine)
        {
            return HealthCheckResult.Healthy("loading");
        }

        if (engine.State == EngineState.Faulted)
        {
            return HealthCheckResult.Unhealthy("the engine failed", engine.Fault);
        }

        var silence = time.GetUtcNow() - engine.GetStatistics().LastHeartbeat;
        var data = new Dictionary<string, object> { ["heartbeat_age_s"] = silence.TotalSeconds };
        return silence > MaxSilence && engine.State != EngineState.Stopped
            ? HealthCheckResult.Unhealthy($"the engine's loop was last seen {silence.TotalSeconds:F0} s ago", data: data)
            : HealthCheckResult.Healthy(data: data);
    }
}
