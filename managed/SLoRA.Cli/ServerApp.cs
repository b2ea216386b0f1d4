// The web application that `serve` and `demo` run.
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace SLoRA.Cli;

internal static class ServerApp
{
    // Room above our own limit, so that too large a body is refused by us, with a message.
    private const long BodyMargin = 64 * 1024;

    /// Loads the engine, then listens.
    public static async Task<WebApplication> StartAsync(Action<SLoRAOptions> configure, string urls, IProgress<LoadProgress> progress, CancellationToken ct)
    {
        var limits = new SLoRAServerOptions();
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { ApplicationName = "slora" });
        builder.WebHost.UseUrls(urls.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
        builder.Logging.AddFilter("Microsoft", LogLevel.Warning).AddFilter("SLoRA", LogLevel.Warning);
        builder.Services.Configure<KestrelServerOptions>(kestrel => kestrel.Limits.MaxRequestBodySize = limits.MaxBodyBytes + BodyMargin);
        builder.Services.AddSingleton(progress);
        builder.Services.AddSLoRA(builder.Configuration.GetSection(SLoRAOptions.SectionName));
        builder.Services.Configure(configure);
        builder.Services.AddHealthChecks().AddSLoRA();
        var app = builder.Build();
        try
        {
            app.MapSLoRAOpenAI("/v1", limits);
            await app.StartAsync(ct).ConfigureAwait(false);
            return app;
        }
        catch
        {
            await app.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    public static void PrintModel(WebApplication app)
    {
        var engine = app.Services.GetRequiredService<SLoRAEngine>();
        Console.Out.WriteLine(
            $"{engine.Info.ModelName} ({engine.Info.Architecture}, {engine.Info.ComputeDtype}, {engine.Info.Backend}) with {engine.Adapters.Count} adapters, {engine.Info.TotalPages} pages of {engine.Info.TokensPerPage} tokens");
    }

    public static void PrintReady(WebApplication app)
    {
        PrintModel(app);
        foreach (var url in app.Urls)
        {
            Console.Out.WriteLine($"serving at {url}/v1");
        }
    }
}
