// Registration: AddSLoRA and what follows it.
using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;
using SLoRA.Hosting;

namespace SLoRA;

/// <summary>Registers an engine with a host: loaded before anything else starts, drained and freed at the end.</summary>
public static class SLoRAServiceCollectionExtensions
{
    /// <summary>Registers an engine: inject <see cref="SLoRAEngine"/>, <see cref="IAdapterCatalog"/> or, where waiting for the
    /// load in a constructor will not do, <see cref="ISLoRAEngineSource"/>.</summary>
    /// <param name="services">The services.</param>
    /// <param name="configure">Fills the options in; may be null.</param>
    public static ISLoRABuilder AddSLoRA(this IServiceCollection services, Action<SLoRAOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        var options = services.AddOptions<SLoRAOptions>().ValidateOnStart();
        if (configure is not null)
        {
            options.Configure(configure);
        }

        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<SLoRAOptions>, SLoRAOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<IEngineFactory, EngineFactory>();
        services.TryAddSingleton<EngineHost>();
        services.TryAddSingleton<ISLoRAEngineSource>(provider => provider.GetRequiredService<EngineHost>());
        services.TryAddSingleton(provider => provider.GetRequiredService<EngineHost>().Engine);
        services.TryAddSingleton(provider => provider.GetRequiredService<EngineHost>().Engine.Adapters);
        services.TryAddSingleton<SLoRAMeters>();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, EngineHost>(provider => provider.GetRequiredService<EngineHost>()));
        return new SLoRABuilder(services);
    }

    /// <summary>Registers an engine with options from configuration.</summary>
    /// <param name="services">The services.</param>
    /// <param name="section">The section, usually <c>SLoRA</c>.</param>
    public static ISLoRABuilder AddSLoRA(this IServiceCollection services, IConfiguration section)
    {
        ArgumentNullException.ThrowIfNull(section);
        services.AddOptions<SLoRAOptions>().Bind(section);
        return services.AddSLoRA((Action<SLoRAOptions>?)null);
    }

    /// <summary>Loads an adapter at start.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="name">The name requests will use.</param>
    /// <param name="path">A PEFT folder.</param>
    /// <param name="configure">Further settings; may be null.</param>
    public static ISLoRABuilder AddAdapter(this ISLoRABuilder builder, string name, string path, Action<AdapterEntry>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        var entry = new AdapterEntry { Name = name, Path = path };
        configure?.Invoke(entry);
        builder.Services.Configure<SLoRAOptions>(options => options.Adapters.Entries.Add(entry));
        return builder;
    }

    /// <summary>Loads each adapter folder of a folder at start, under the folder's name.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="path">The folder of folders.</param>
    public static ISLoRABuilder AddAdapterDirectory(this ISLoRABuilder builder, string path)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.Configure<SLoRAOptions>(options => options.Adapters.Directories.Add(path));
        return builder;
    }

    /// <summary>Asks a resolver for adapters that nobody has registered, in the order of these calls.</summary>
    /// <typeparam name="TResolver">The resolver; made by the container.</typeparam>
    /// <param name="builder">The builder.</param>
    public static ISLoRABuilder AddAdapterResolver<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TResolver>(this ISLoRABuilder builder)
        where TResolver : class, IAdapterResolver
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddSingleton<IAdapterResolver, TResolver>();
        return builder;
    }

    /// <summary>Registers an <see cref="IChatClient"/> of the base model; <c>ChatOptions.ModelId</c> names an adapter.</summary>
    /// <param name="builder">The builder.</param>
    public static ChatClientBuilder AddChatClient(this ISLoRABuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.Services.AddChatClient(provider => MakeClient(provider, null));
    }

    /// <summary>Registers an <see cref="IChatClient"/> of one adapter, keyed by its name.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="adapter">The adapter's name.</param>
    public static ChatClientBuilder AddKeyedChatClient(this ISLoRABuilder builder, string adapter)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.Services.AddKeyedChatClient(adapter, provider => MakeClient(provider, adapter));
    }

    /// <summary>Adds the checks <c>slora_live</c> (tag <c>live</c>) and <c>slora_ready</c> (tag <c>ready</c>).</summary>
    /// <param name="builder">The health checks.</param>
    public static IHealthChecksBuilder AddSLoRA(this IHealthChecksBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.AddCheck<LiveCheck>("slora_live", tags: ["live"]).AddCheck<ReadyCheck>("slora_ready", tags: ["ready"]);
    }

    private static SLoRAChatClient MakeClient(IServiceProvider provider, string? adapter) =>
        new(provider.GetRequiredService<EngineHost>(), provider.GetRequiredService<IOptions<SLoRAOptions>>().Value.Model.ServedName, adapter);
}
