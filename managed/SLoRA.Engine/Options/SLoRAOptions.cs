// All options of an engine: one section "SLoRA" of configuration, or filled in by code.
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Reflection;

namespace SLoRA;

/// <summary>Options of an engine. Ranges are validated at start.</summary>
public sealed class SLoRAOptions
{
    /// <summary>The section of configuration that <c>AddSLoRA</c> reads.</summary>
    public const string SectionName = "SLoRA";

    /// <summary>The base model.</summary>
    public ModelOptions Model { get; set; } = new();

    /// <summary>The native library and its backend.</summary>
    public NativeOptions Native { get; set; } = new();

    /// <summary>The page pool.</summary>
    public MemoryOptions Memory { get; set; } = new();

    /// <summary>Recorded decode steps.</summary>
    public RecordingOptions Recording { get; set; } = new();

    /// <summary>Adapters to load at start.</summary>
    public AdapterOptions Adapters { get; set; } = new();

    /// <summary>Batches and the queue.</summary>
    public SchedulerOptions Scheduler { get; set; } = new();

    /// <summary>Experiments; leave it alone to serve.</summary>
    public ExperimentOptions Experiment { get; set; } = new();

    /// <summary>One model over several ranks.</summary>
    public TensorParallelOptions TensorParallel { get; set; } = new();

    /// <summary>What is wrong with the values, one line each; empty if nothing is.</summary>
    public IReadOnlyList<string> Validate()
    {
        var problems = new List<string>();
        foreach (var (section, part) in new (string, object)[] { ("Model", Model), ("Native", Native), ("Memory", Memory), ("Recording", Recording), ("Adapters", Adapters), ("Scheduler", Scheduler), ("TensorParallel", TensorParallel), ("Experiment", Experiment) })
        {
            Check(section, part, problems);
        }

        problems.AddRange(Experiment.Problems());
        if (Memory.PageTokens is int tokens and not 0 && !int.IsPow2(tokens))
        {
            problems.Add($"Memory.PageTokens is {tokens}; it must be a power of two");
        }

        if (Scheduler.MaxBatchRows > Scheduler.MaxSequences && Scheduler.MaxSequences > 0)
        {
            problems.Add($"Scheduler.MaxBatchRows is {Scheduler.MaxBatchRows}; it must not exceed Scheduler.MaxSequences, {Scheduler.MaxSequences}");
        }

        CheckRanks(problems);
        return problems;
    }

    private void CheckRanks(List<string> problems)
    {
        if (TensorParallel.Devices.Count > 0 && TensorParallel.Devices.Count != TensorParallel.Size)
        {
            problems.Add($"TensorParallel.Devices has {TensorParallel.Devices.Count} entries; it must have none or TensorParallel.Size, {TensorParallel.Size}");
        }

        if (TensorParallel.Listen is null)
        {
            return;
        }

        if (TensorParallel.Size < 2)
        {
            problems.Add($"TensorParallel.Listen is '{TensorParallel.Listen}', but TensorParallel.Size is {TensorParallel.Size}; ranks that join need 2 at least");
        }

        if (string.IsNullOrEmpty(TensorParallel.ResolveSecret()))
        {
            problems.Add($"TensorParallel.Secret is missing; ranks that join must know one ({TensorParallelOptions.SecretVariable} may hold it)");
        }
    }

    [System.Diagnostics.CodeAnalysis.UnconditionalSuppressMessage("Trimming", "IL2026", Justification = "The option classes are referenced here, and their members are simple properties with annotations.")]
    private static void Check(string section, object part, List<string> problems)
    {
        var results = new List<ValidationResult>();
        Validator.TryValidateObject(part, new ValidationContext(part), results, validateAllProperties: true);
        problems.AddRange(results.Select(result => Describe(section, part, result)));
    }

    // The annotations' own messages lack the value.
    [System.Diagnostics.CodeAnalysis.UnconditionalSuppressMessage("Trimming", "IL2075", Justification = "The option classes are referenced here, and their members are simple properties with annotations.")]
    private static string Describe(string section, object part, ValidationResult result)
    {
        var name = result.MemberNames.FirstOrDefault();
        if (name is null || part.GetType().GetProperty(name) is not { } property)
        {
            return $"{section}: {result.ErrorMessage}";
        }

        var value = property.GetValue(part);
        return property.GetCustomAttribute<RangeAttribute>() is { } range ? string.Create(CultureInfo.InvariantCulture, $"{section}.{name} is {value}; it must be {LimitsOf(range)}")
            : property.GetCustomAttribute<EnumDataTypeAttribute>() is { } named ? $"{section}.{name} is {value}; it must be one of {string.Join(", ", Enum.GetNames(named.EnumType))}"
            : $"{section}.{name}: {result.ErrorMessage}";
    }

    // An end that only the type sets is none.
    private static string LimitsOf(RangeAttribute range) => Convert.ToDouble(range.Maximum, CultureInfo.InvariantCulture) >= int.MaxValue
        ? string.Create(CultureInfo.InvariantCulture, $"at least {range.Minimum}")
        : string.Create(CultureInfo.InvariantCulture, $"in [{range.Minimum}, {range.Maximum}]");
}
