// slora generate: one prompt, streamed to the terminal.
using System.CommandLine;
using System.Diagnostics;
using SLoRA.Cli.Display;

namespace SLoRA.Cli.Commands;

internal static class GenerateCommand
{
    public static Command Create()
    {
        var engine = new EngineArguments();
        var adapter = new Option<string?>("--adapter") { Description = "Name of the adapter; none: the base model." };
        var prompt = new Option<string>("--prompt") { Description = "Text to continue.", Required = true };
        var maxTokens = new Option<int>("--max-tokens") { Description = "Most tokens of output.", DefaultValueFactory = _ => 64 };
        var temperature = new Option<float>("--temperature") { Description = "0 is greedy.", DefaultValueFactory = _ => 0f };
        var seed = new Option<ulong?>("--seed") { Description = "Same seed, same tokens." };
        var chat = new Option<bool>("--chat") { Description = "The prompt is a user's message: use the chat template." };
        var command = new Command("generate", "Continues one prompt.") { adapter, prompt, maxTokens, temperature, seed, chat };
        engine.AddTo(command);
        command.SetAction((parsed, ct) => RunAsync(engine.Read(parsed), ToRequest(parsed), ct));
        return command;

        GenerationRequest ToRequest(ParseResult parsed) => new()
        {
            Prompt = parsed.GetValue(chat) ? Prompt.FromChat([new PromptMessage("user", parsed.GetValue(prompt)!)]) : Prompt.FromText(parsed.GetValue(prompt)!),
            Adapters = parsed.GetValue(adapter) is { } name ? [new AdapterWeight(name)] : [],
            MaxOutputTokens = parsed.GetValue(maxTokens),
            Sampling = new SamplingOptions { Temperature = parsed.GetValue(temperature), Seed = parsed.GetValue(seed) },
        };
    }

    private static async Task<int> RunAsync(SLoRAOptions options, GenerationRequest request, CancellationToken ct)
    {
        KeepOnly(options, request);
        var engine = await LoadDisplay.RunAsync(progress => SLoRAEngine.LoadAsync(options, progress, null, ct)).ConfigureAwait(false);
        await using (engine.ConfigureAwait(false))
        {
            var watch = Stopwatch.StartNew();
            TokenUsage usage = default;
            await foreach (var chunk in engine.GenerateAsync(request, ct).ConfigureAwait(false))
            {
                await Console.Out.WriteAsync(chunk.Text).ConfigureAwait(false);
                await Console.Out.FlushAsync(ct).ConfigureAwait(false);
                usage = chunk.Usage ?? usage;
            }

            await Console.Out.WriteLineAsync().ConfigureAwait(false);
            await Console.Error.WriteLineAsync($"{usage.PromptTokens} + {usage.CompletionTokens} tokens in {watch.Elapsed.TotalSeconds:F2} s").ConfigureAwait(false);
            return 0;
        }
    }

    // Of a folder of thousands one adapter is needed: the others are not read. A name that is not there is left to the
    // engine to refuse.
    private static void KeepOnly(SLoRAOptions options, GenerationRequest request)
    {
        foreach (var name in request.Adapters.Select(adapter => adapter.Name))
        {
            var folder = options.Adapters.Directories.Select(directory => Path.Combine(directory, name)).FirstOrDefault(Directory.Exists);
            if (folder is not null)
            {
                options.Adapters.Entries.Add(new AdapterEntry { Name = name, Path = folder });
            }
        }

        options.Adapters.Directories.Clear();
        options.Adapters.Strict = true;
    }
}
