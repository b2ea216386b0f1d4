// GET health: 200 while the engine serves, otherwise 503, with what an operator asks first.
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using SLoRA.Hosting;
using SLoRA.Server.Writing;

namespace SLoRA.Server.Endpoints;

internal static class HealthEndpoint
{
    public static Task HandleAsync(HttpContext context)
    {
        var engine = context.RequestServices.GetRequiredService<EngineHost>().EngineOrNull;
        var isServing = engine?.State == EngineState.Ready;
        return JsonAnswers.WriteAsync(
            context, Describe(engine, isServing), ApiJson.Default.HealthObject, isServing ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable);
    }

    private static HealthObject Describe(SLoRAEngine? engine, bool isServing)
    {
        var status = isServing ? "ok" : "unavailable";
        if (engine is null)
        {
            return new HealthObject(status, nameof(EngineState.Loading), null, null, null, 0, 0, 0, null);
        }

        var now = engine.GetStatistics();
        var pages = new PagesObject(now.TotalPages, now.FreePages, now.KvPages, now.AdapterPages);
        return new HealthObject(
            status, now.State.ToString(), engine.Info.ModelName, engine.Info.Backend, engine.Info.ComputeDtype, engine.Adapters.Count, now.Running, now.Queued, pages);
    }
}
