// The one implementation of ISLoRABuilder.
using Microsoft.Extensions.DependencyInjection;

namespace SLoRA.Hosting;

internal sealed record SLoRABuilder(IServiceCollection Services) : ISLoRABuilder;
