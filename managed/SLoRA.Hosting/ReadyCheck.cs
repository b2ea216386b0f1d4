// Whether requests should be sent here: loaded, serving, and with room.
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace SLoRA.Hosting;

internal sealed class ReadyCheck(EngineHost host) : IHealthCheck
{
    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(Check());

    private HealthCheckResult Check()
    {
        if (host.EngineOrNull is not { } engine)
        {
            return HealthCheckResult.Unhealthy("loading");
        }

        var data = Describe(engine);
        if (engine.State != EngineState.Ready)
        {
            return HealthCheckResult.Unhealthy($"the engine is {engine.State}", engine.Fault, data);
        }

        var now = engine.GetStatistics();
        return now.Queued > 0 && now.FreePages + now.EvictablePages == 0
            ? HealthCheckResult.Degraded("the pool is exhausted and requests wait", data: data)
            : HealthCheckResult.Healthy(data: data);
    }

    private static Dictionary<string, object> Describe(SLoRAEngine engine)
    {
        var now = engine.GetStatistics();
        return new Dictionary<string, object>
        {
            ["state"] = engine.State.ToString(),
            ["model"] = engine.Info.ModelName,
            ["backend"] = engine.Info.Backend,
            ["dtype"] = engine.Info.ComputeDtype,
            ["native_library"] = engine.Info.NativePath,
            ["pages_total"] = now.TotalPages,
            ["pages_free"] = now.FreePages,
            ["pages_kv"] = now.KvPages,
            ["pages_adapter"] = now.AdapterPages,
            ["adapters"] = engine.Adapters.Count,
            ["running"] = now.Running,
            ["queued"] = now.Queued,
        };
    }
}
