// slora demo: serves the model, then is its own first client: one batch in which each request uses another adapter and
// one uses none, over HTTP like any other client.
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using SLoRA.Cli.Display;
using Spectre.Console;

namespace SLoRA.Cli.Commands;

internal static class DemoCommand
{
    private const int MaxTokens = 32;
    private const string SamplesFile = "samples.json";

    public static Command Create()
    {
        var engine = new EngineArguments();
        var urls = new Option<string>("--urls") { Description = "Address to serve at; port 0 picks a free one.", DefaultValueFactory = _ => "http://127.0.0.1:8080" };
        var once = new Option<bool>("--once") { Description = "Exit after the batch." };
        var command = new Command("demo", "Serves the demo model, sends one mixed batch to itself and shows what came.") { urls, once };
        engine.AddTo(command);
        command.SetAction((parsed, ct) => RunAsync(engine, parsed, parsed.GetValue(urls)!, parsed.GetValue(once), ct));
        return command;
    }

    private static async Task<int> RunAsync(EngineArguments arguments, ParseResult parsed, string urls, bool once, CancellationToken ct)
    {
        var prompts = ReadPrompts(arguments.AdaptersFolder(parsed) ?? throw new ArgumentException("--adapters is missing: the demo needs a folder of adapters"));
        var app = await LoadDisplay.RunAsync(progress => ServerApp.StartAsync(options => arguments.Fill(parsed, options), urls, progress, ct)).ConfigureAwait(false);
        await using (app.ConfigureAwait(false))
        {
            var isComplete = await ShowBatchAsync(app, prompts, ct).ConfigureAwait(false);
            if (once)
            {
                ServerApp.PrintModel(app);
                await app.StopAsync(ct).ConfigureAwait(false);
                return isComplete ? 0 : 1;
            }

            ServerApp.PrintReady(app);
            await app.WaitForShutdownAsync(ct).ConfigureAwait(false);
            return 0;
        }
    }

    // Names and prompts of samples.json, which lies beside the folder of adapters; "base" stands for no adapter.
    private static Dictionary<string, string> ReadPrompts(string adaptersFolder)
    {
        var parent = Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(adaptersFolder)))!;
        var path = Path.Combine(parent, SamplesFile);
        if (!File.Exists(path))
        {
            throw new FileNotFoundException($"'{path}' is missing: it holds the demo's prompts");
        }

        using var document = JsonDocument.Parse(File.ReadAllBytes(path));
        return document.RootElement.EnumerateObject().ToDictionary(sample => sample.Name, sample => sample.Value.GetProperty("prompt").GetString()!);
    }

    private static async Task<bool> ShowBatchAsync(WebApplication app, Dictionary<string, string> prompts, CancellationToken ct)
    {
        var engine = app.Services.GetRequiredService<SLoRAEngine>();
        using var client = new HttpClient { BaseAddress = new Uri(app.Urls.First()), Timeout = TimeSpan.FromMinutes(5) };
        var names = engine.Adapters.Adapters.Select(adapter => adapter.Name).Where(prompts.ContainsKey).Prepend(engine.Info.ModelName).ToArray();
        var watch = Stopwatch.StartNew();
        var results = await Task.WhenAll(names.Select(name => SendAsync(client, name, prompts.GetValueOrDefault(name) ?? prompts["base"], ct))).ConfigureAwait(false);
        var elapsed = watch.Elapsed;
        Print(engine, results);
        PrintTotals(engine, results, elapsed);
        return results.All(result => result.Tokens > 0);
    }

    private static async Task<DemoResult> SendAsync(HttpClient client, string model, string prompt, CancellationToken ct)
    {
        var watch = Stopwatch.StartNew();
        using var body = new StringContent(
            $$"""{"model":{{Quote(model)}},"prompt":{{Quote(prompt)}},"max_tokens":{{MaxTokens}},"temperature":0}""", System.Text.Encoding.UTF8, "application/json");
        using var response = await client.PostAsync(new Uri("/v1/completions", UriKind.Relative), body, ct).ConfigureAwait(false);
        var answer = await response.Content.ReadFromJsonAsync(DemoJson.Default.JsonElement, ct).ConfigureAwait(false);
        if (!response.IsSuccessStatusCode)
        {
            return new DemoResult(model, prompt, answer.GetProperty("error").GetProperty("message").GetString()!, 0, watch.Elapsed);
        }

        var text = answer.GetProperty("choices")[0].GetProperty("text").GetString()!;
        return new DemoResult(model, prompt, text, answer.GetProperty("usage").GetProperty("completion_tokens").GetInt32(), watch.Elapsed);
    }

    private static string Quote(string text) => JsonSerializer.Serialize(text, DemoJson.Default.String);

    private static void Print(SLoRAEngine engine, DemoResult[] results)
    {
        var table = Tables.Create("adapter", "lora_rank", "prompt", "completion", "tokens/s");
        foreach (var result in results)
        {
            var adapter = engine.Adapters.Find(result.Model);
            table.AddRow(
                adapter is null ? "(none)" : Markup.Escape(result.Model),
                adapter?.LoraRank.ToString(CultureInfo.InvariantCulture) ?? string.Empty,
                Tables.OneLine(result.Prompt, 36),
                Tables.OneLine(result.Completion, 60),
                (result.Tokens / result.Elapsed.TotalSeconds).ToString("F1", CultureInfo.InvariantCulture));
        }

        Tables.Print(table);
    }

    private static void PrintTotals(SLoRAEngine engine, DemoResult[] results, TimeSpan elapsed)
    {
        var tokens = results.Sum(result => result.Tokens);
        var now = engine.GetStatistics();
        Console.WriteLine($"{results.Length} requests in one batch: {tokens} tokens in {elapsed.TotalSeconds:F2} s, {tokens / elapsed.TotalSeconds:F1} tokens/s");
        Console.WriteLine(
            $"pool: {now.TotalPages} pages, {now.KvPages} kv, {now.AdapterPages} adapter ({now.ResidentAdapters} adapters resident), {now.FreePages} free");
    }

    private sealed record DemoResult(string Model, string Prompt, string Completion, int Tokens, TimeSpan Elapsed);
}
