// Stops the start with every wrong option named at once.
using Microsoft.Extensions.Options;

namespace SLoRA.Hosting;

internal sealed class SLoRAOptionsValidator : IValidateOptions<SLoRAOptions>
{
    public ValidateOptionsResult Validate(string? name, SLoRAOptions options) =>
        options.Validate() is { Count: > 0 } problems
            ? ValidateOptionsResult.Fail(problems.Select(problem => $"{SLoRAOptions.SectionName}.{problem}"))
            : ValidateOptionsResult.Success;
}
