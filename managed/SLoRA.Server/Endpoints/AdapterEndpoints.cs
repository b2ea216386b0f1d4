// POST load_lora_adapter and unload_lora_adapter, with vLLM's bodies, statuses and answers.
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using SLoRA.Server.Reading;

namespace SLoRA.Server.Endpoints;

internal sealed class AdapterEndpoints(SLoRAServerOptions options)
{
    public async Task LoadAsync(HttpContext context)
    {
        var source = await ReadSourceAsync(context).ConfigureAwait(false);
        if (!Directory.Exists(source.Path))
        {
            throw new ApiException(StatusCodes.Status404NotFound, $"lora_path is '{ApiException.Shorten(source.Path)}', which is not a folder on the server", ApiException.InvalidRequest, "lora_path", "adapter_not_found");
        }

        await Catalog(context).LoadAsync(source, null, context.RequestAborted).ConfigureAwait(false);
        await context.Response.WriteAsync($"Success: LoRA adapter '{source.Name}' added successfully.", context.RequestAborted).ConfigureAwait(false);
    }

    public async Task UnloadAsync(HttpContext context)
    {
        var name = await ReadNameAsync(context).ConfigureAwait(false);
        if (!await Catalog(context).UnloadAsync(name, UnloadMode.Detach, context.RequestAborted).ConfigureAwait(false))
        {
            throw new ApiException(StatusCodes.Status404NotFound, $"the adapter '{ApiException.Shorten(name)}' is not loaded", ApiException.InvalidRequest, "lora_name", "adapter_not_found");
        }

        await context.Response.WriteAsync($"Success: LoRA adapter '{name}' removed successfully.", context.RequestAborted).ConfigureAwait(false);
    }

    private static IAdapterCatalog Catalog(HttpContext context) => context.RequestServices.GetRequiredService<SLoRAEngine>().Adapters;

    private async Task<AdapterSource> ReadSourceAsync(HttpContext context)
    {
        using var document = await BodyReader.ReadObjectAsync(context.Request, options.MaxBodyBytes).ConfigureAwait(false);
        var fields = new FieldReader(document.RootElement);
        var source = new AdapterSource(Required(fields, "lora_name"), Required(fields, "lora_path"))
        {
            Replace = fields.TakeFlag("load_inplace"),
            Pinned = fields.TakeFlag("pinned"),
        };
        if (fields.TakeFlag("is_3d_lora_weight"))
        {
            throw ApiException.Invalid("is_3d_lora_weight is true; such adapters are not supported", "is_3d_lora_weight");
        }

        fields.RefuseRest();
        source.Validate();
        return source;
    }

    private async Task<string> ReadNameAsync(HttpContext context)
    {
        using var document = await BodyReader.ReadObjectAsync(context.Request, options.MaxBodyBytes).ConfigureAwait(false);
        var fields = new FieldReader(document.RootElement);
        var name = Required(fields, "lora_name");

        // vLLM's own number of the adapter, which the name already tells.
        fields.TakeInt("lora_int_id");
        fields.RefuseRest();
        return name;
    }

    private static string Required(FieldReader fields, string name) =>
        fields.TakeText(name) is { Length: > 0 } text ? text : throw ApiException.Invalid($"{name} is missing", name);
}
