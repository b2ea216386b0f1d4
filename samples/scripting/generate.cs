#!/usr/bin/env dotnet
// A script without a project: `dotnet run generate.cs MODEL ADAPTERS ADAPTER PROMPT`.
#:package SLoRA@0.1.0
#:property PublishAot=false
using SLoRA;

if (args is not [var model, var adapters, var adapter, var prompt])
{
    Console.Error.WriteLine("usage: generate.cs MODEL ADAPTERS ADAPTER PROMPT");
    return 2;
}

var options = new SLoRAOptions();
options.Model.Path = model;
options.Model.Dtype = ComputeDtype.F32;
options.Memory.PoolBytes = 64 << 20;
options.Adapters.Directories.Add(adapters);

await using var engine = await SLoRAEngine.LoadAsync(options);
var request = new GenerationRequest { Prompt = prompt.Replace("\\n", "\n"), Adapters = [adapter], MaxOutputTokens = 32 };
await foreach (var chunk in engine.GenerateAsync(request))
{
    Console.Write(chunk.Text);
}

Console.WriteLine();
return 0;
