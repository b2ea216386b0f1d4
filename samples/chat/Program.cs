// One IChatClient an adapter, by key, and one of the base model: the code that uses them knows Microsoft.Extensions.AI and
// nothing of SLoRA.
//   dotnet run -- MODEL ADAPTERS "question"
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SLoRA;

if (args is not [var model, var adapters, var question])
{
    Console.Error.WriteLine("usage: chat MODEL ADAPTERS QUESTION");
    return 2;
}

var builder = Host.CreateApplicationBuilder();
builder.Logging.SetMinimumLevel(LogLevel.Warning);
var slora = builder.Services.AddSLoRA(options =>
{
    options.Model.Path = model;
    options.Model.Dtype = ComputeDtype.F32;
    options.Memory.PoolBytes = 64 << 20;
}).AddAdapterDirectory(adapters);
slora.AddChatClient();
slora.AddKeyedChatClient("chat");
slora.AddKeyedChatClient("shakespeare");

using var host = builder.Build();
await host.StartAsync(); // The engine is loaded when this returns.

var greedy = new ChatOptions { Temperature = 0, MaxOutputTokens = 32 };
foreach (var key in new[] { "chat", "shakespeare", null })
{
    var client = key is null
        ? host.Services.GetRequiredService<IChatClient>()
        : host.Services.GetRequiredKeyedService<IChatClient>(key);
    Console.Write($"{key ?? "base"}: ");
    await foreach (var update in client.GetStreamingResponseAsync(question, greedy))
    {
        Console.Write(update.Text.ReplaceLineEndings(" "));
    }

    Console.WriteLine();
}

await host.StopAsync();
return 0;
