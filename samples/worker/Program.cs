// A worker service that answers the lines of a file, each with the adapter it names, and then stops. The model and its
// adapters come from appsettings.json; environment variables (SLoRA__Model__Path) and the command line
// (--SLoRA:Model:Path=...) override them.
using SLoRA;
using SLoRA.Samples.Worker;

var builder = Host.CreateApplicationBuilder(args);
builder.Services.AddSLoRA(builder.Configuration.GetSection(SLoRAOptions.SectionName));
builder.Services.AddHostedService<LineWorker>();
await builder.Build().RunAsync();
