// The routes.
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using SLoRA.Server;
using SLoRA.Server.Endpoints;
using SLoRA.Server.Writing;

namespace SLoRA;

/// <summary>Maps the OpenAI-compatible endpoints of an engine registered by <c>AddSLoRA</c>.</summary>
public static class SLoRAEndpointExtensions
{
    /// <summary>Maps models, completions, chat completions and adapter loading below <paramref name="prefix"/>, and
    /// <c>/health</c>.</summary>
    /// <param name="endpoints">The application.</param>
    /// <param name="prefix">Where the OpenAI routes begin.</param>
    /// <param name="options">Limits; null: the defaults.</param>
    public static IEndpointConventionBuilder MapSLoRAOpenAI(this IEndpointRouteBuilder endpoints, string prefix = "/v1", SLoRAServerOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        options ??= new SLoRAServerOptions();
        endpoints.MapGet("/health", HealthEndpoint.HandleAsync);
        var group = endpoints.MapGroup(prefix);
        var generation = new GenerationEndpoints(options);
        Map(group, "GET", "/models", ModelEndpoints.ListAsync);
        Map(group, "GET", "/models/{**id}", ModelEndpoints.GetAsync);
        Map(group, "POST", "/completions", generation.CompleteAsync);
        Map(group, "POST", "/chat/completions", generation.ChatAsync);
        if (options.AllowAdapterUpdates)
        {
            var adapters = new AdapterEndpoints(options);
            Map(group, "POST", "/load_lora_adapter", adapters.LoadAsync);
            Map(group, "POST", "/unload_lora_adapter", adapters.UnloadAsync);
        }

        Map(group, null, "/{**rest}", static context => throw ApiException.NoSuchRoute(context.Request));
        return group;
    }

    private static void Map(RouteGroupBuilder group, string? method, string path, RequestDelegate handler)
    {
        RequestDelegate guarded = context => ErrorWriter.GuardAsync(context, handler);
        _ = method is null ? group.Map(path, guarded) : group.MapMethods(path, [method], guarded);
    }
}
