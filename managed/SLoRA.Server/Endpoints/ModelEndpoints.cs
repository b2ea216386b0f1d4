// GET models: the base model and, as models of their own, its adapters.
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using SLoRA.Server.Writing;

namespace SLoRA.Server.Endpoints;

internal static class ModelEndpoints
{
    private static readonly long s_started = DateTimeOffset.UtcNow.ToUnixTimeSeconds();

    public static Task ListAsync(HttpContext context)
    {
        var engine = context.RequestServices.GetRequiredService<SLoRAEngine>();
        var models = engine.Adapters.Adapters.Select(adapter => Describe(engine, adapter)).Prepend(Describe(engine));
        return JsonAnswers.WriteAsync(context, new ModelList("list", [.. models]), ApiJson.Default.ModelList);
    }

    public static Task GetAsync(HttpContext context)
    {
        var engine = context.RequestServices.GetRequiredService<SLoRAEngine>();
        var id = context.GetRouteValue("id") as string ?? string.Empty;
        var model = id == engine.Info.ModelName ? Describe(engine)
            : engine.Adapters.Find(id) is { } adapter ? Describe(engine, adapter)
            : throw ApiException.ModelNotFound(id);
        return JsonAnswers.WriteAsync(context, model, ApiJson.Default.ModelObject);
    }

    private static ModelObject Describe(SLoRAEngine engine) =>
        new(engine.Info.ModelName, "model", s_started, "slora", engine.Info.ModelPath, null, engine.Info.Limits.MaxContextTokens);

    private static ModelObject Describe(SLoRAEngine engine, AdapterInfo adapter) =>
        new(adapter.Name, "model", adapter.LoadedAt.ToUnixTimeSeconds(), "slora", adapter.Path, engine.Info.ModelName, engine.Info.Limits.MaxContextTokens);
}
