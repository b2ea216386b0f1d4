// slora serve: the HTTP server until interrupted.
using System.CommandLine;
using SLoRA.Cli.Display;

namespace SLoRA.Cli.Commands;

internal static class ServeCommand
{
    public static Command Create()
    {
        var engine = new EngineArguments();
        var adapters = new ServeArguments();
        var urls = new Option<string>("--urls") { Description = "Addresses to listen at, separated by semicolons.", DefaultValueFactory = _ => "http://127.0.0.1:8080" };
        var command = new Command("serve", "Serves the model and its adapters over the OpenAI API.") { urls };
        engine.AddTo(command);
        adapters.AddTo(command);
        command.SetAction((parsed, ct) => RunAsync(
            options =>
            {
                engine.Fill(parsed, options);
                adapters.Fill(parsed, options);
            },
            parsed.GetValue(urls)!,
            ct));
        return command;
    }

    private static async Task<int> RunAsync(Action<SLoRAOptions> configure, string urls, CancellationToken ct)
    {
        var app = await LoadDisplay.RunAsync(progress => ServerApp.StartAsync(configure, urls, progress, ct)).ConfigureAwait(false);
        await using (app.ConfigureAwait(false))
        {
            ServerApp.PrintReady(app);
            await app.WaitForShutdownAsync(ct).ConfigureAwait(false);
        }

        return 0;
    }
}
