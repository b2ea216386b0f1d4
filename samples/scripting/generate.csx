// The twin of generate.cs for dotnet-script: `dotnet script generate.csx -- MODEL ADAPTERS ADAPTER PROMPT`.
// NOT RUN: dotnet-script could not be installed where this was written. generate.cs is the tested one.
#r "nuget: SLoRA, 0.1.0"
using System;
using SLoRA;

if (Args.Count != 4)
{
    Console.Error.WriteLine("usage: generate.csx MODEL ADAPTERS ADAPTER PROMPT");
    return 2;
}

var options = new SLoRAOptions();
options.Model.Path = Args[0];
options.Model.Dtype = ComputeDtype.F32;
options.Memory.PoolBytes = 64 << 20;
options.Adapters.Directories.Add(Args[1]);

var engine = await SLoRAEngine.LoadAsync(options);
var request = new GenerationRequest { Prompt = Args[3].Replace("\\n", "\n"), Adapters = new AdapterWeight[] { Args[2] }, MaxOutputTokens = 32 };
await foreach (var chunk in engine.GenerateAsync(request))
{
    Console.Write(chunk.Text);
}

Console.WriteLine();
await engine.DisposeAsync();
return 0;
