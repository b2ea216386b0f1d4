// The engine of a measurement: a model folder or a synthetic shape, and its adapters.
using System.CommandLine;
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Models;
using SLoRA.Bench.Traces;

namespace SLoRA.Cli.Commands.Bench;

/// `withSet` false: the command has its own options for which adapters there are, and reads none from files.
internal sealed class BenchEngineArguments(bool withSet = true)
{
    // Room for a saturating trace: what the scheduler does not admit waits, and nothing is refused.
    private const int MaxQueue = 1_000_000;
    private const int DefaultSequences = 512;
    private const int ContextStep = 64;

    private readonly EngineArguments _engine = new(requiresModel: false, hasAdapters: withSet);
    private readonly Option<string?> _synthetic = new("--synthetic") { Description = $"A model shape with random weights instead of --model: {string.Join(", ", SyntheticModels.Names)}." };
    private readonly Option<string> _set = new("--set") { Description = "The paper's adapter set (S1, S2, S4), or lora_ranks in turn, such as 64,32,16,8.", DefaultValueFactory = _ => "S1" };
    private readonly Option<int?> _adapters = new("--num-adapters") { Description = "Synthetic adapters; default: as many as the trace names." };
    private readonly Option<string> _modules = new("--modules") { Description = "Modules that synthetic adapters change: some of q,k,v,o,gate,up,down, or all.", DefaultValueFactory = _ => "q,k,v,o" };
    private readonly Option<int> _distinct = new("--distinct") { Description = "Different images among the synthetic adapters; 0: all differ." };
    private readonly Option<int?> _maxContext = new("--max-context") { Description = "Tokens of one sequence; default: what the trace needs." };
    private readonly Option<int> _prefillChunk = new("--prefill-chunk") { Description = "Most tokens of one prompt in a step while others decode; 0: no limit but the step's.", DefaultValueFactory = _ => 512 };

    public void AddTo(Command command)
    {
        foreach (var option in (Option[])[_synthetic, .. withSet ? (Option[])[_set, _adapters, _distinct] : [], _modules, _maxContext, _prefillChunk])
        {
            command.Options.Add(option);
        }

        _engine.AddTo(command);
    }

    /// `longestTokens`: of the trace.
    public SLoRAOptions Read(ParseResult parsed, int longestTokens)
    {
        var options = _engine.Read(parsed);
        if (parsed.GetValue(_synthetic) is { } shape)
        {
            options.Model = options.Model.Path.Length == 0
                ? SyntheticModels.Open(shape, options.Model.Dtype)
                : throw new ArgumentException("--model and --synthetic are both given; one is needed");
        }
        else if (options.Model.Path.Length == 0)
        {
            throw new ArgumentException("neither --model nor --synthetic is given; one is needed");
        }

        if (parsed.GetValue(_maxContext) is < 1 and var context)
        {
            throw new ArgumentException($"--max-context is {context}; it must be 1 or more");
        }

        options.Scheduler.MaxQueue = MaxQueue;
        options.Scheduler.PrefillChunk = parsed.GetValue(_prefillChunk);
        options.Scheduler.MaxSequences = options.Scheduler.MaxSequences == 0 ? DefaultSequences : options.Scheduler.MaxSequences;
        options.Memory.MaxContext = parsed.GetValue(_maxContext) ?? (longestTokens + ContextStep) / ContextStep * ContextStep;

        // Here and not when the engine is loaded: the card's limits are measured before that.
        return options.Validate() is { Count: > 0 } problems ? throw new ArgumentException(string.Join("; ", problems)) : options;
    }

    /// The synthetic adapters, or null where --adapters names a folder.
    public AdapterSet? Set(ParseResult parsed, Trace trace)
    {
        if (_engine.AdaptersFolder(parsed) is not null)
        {
            return null;
        }

        var least = trace.Requests.Max(request => request.Adapter) + 1;
        return parsed.GetValue(_adapters) is { } count && (count < least || count > SyntheticAdapters.MaxCount)
            ? throw new ArgumentException($"--num-adapters is {count}; it must be in [{least}, {SyntheticAdapters.MaxCount}]: the trace names adapters below {least}")
            : MakeSet(parsed, parsed.GetValue(_adapters) ?? trace.NumAdapters);
    }

    public uint Modules(ParseResult parsed) => ModuleNames.Parse(parsed.GetValue(_modules)!);

    private AdapterSet MakeSet(ParseResult parsed, int count)
    {
        var name = parsed.GetValue(_set)!;
        var ranks = AdapterSet.Paper.TryGetValue(name, out var paper) ? paper : [.. name.Split(',').Select(text => int.TryParse(text, out var rank) ? rank : throw new ArgumentException($"--set is '{name}'; it must be {string.Join(", ", AdapterSet.Paper.Keys)} or lora_ranks such as 64,32,16,8"))];
        var set = new AdapterSet(name, count, ranks, Modules(parsed), parsed.GetValue(_distinct));
        set.Validate();
        return set;
    }
}
