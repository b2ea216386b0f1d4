// The systems that the paper compares, as changes of an engine's options.
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Models;

namespace SLoRA.Bench.Paper;

/// What a mode may need to know: the cell, its adapters, the model, bytes of an element, and the longest request.
internal sealed record ModeContext(PaperKey Key, AdapterSet Set, ModelShape Shape, int ElementBytes, int LongestTokens)
{
    /// Of one image, over the cell's adapters.
    public long MeanAdapterBytes => (long)(Enumerable.Range(0, Key.Adapters).Average(Set.RankOf) * Shape.AdapterBytesPerRank(Set.Modules, ElementBytes));

    public long WeightBytes => (Shape.NumLayers * Shape.LayerParameters + 2L * Shape.VocabSize * Shape.HiddenSize) * ElementBytes;
}

internal static class BenchModes
{
    public const string Default = "default";

    /// A fixed region for adapters, KV in the rest: as much as the mean adapter takes, times those that may run at a time.
    public const string Split = "split";

    /// One full copy of the model an adapter, merged, as vLLM without LoRA would serve them. The copies share the memory that
    /// the weights and the pool have now, and take turns on the device, so together they are as fast as one copy with its
    /// share of the pool that gets all the requests: that is what is measured.
    public const string Packed = "packed";

    private static readonly Dictionary<string, Action<SLoRAOptions, ModeContext>> s_modes = new()
    {
        [Default] = (_, _) => { },
        [Split] = (options, context) => SplitMemory(options, context),
        ["bmm"] = (options, _) => options.Experiment.Lora = ExperimentLora.Padded,
        ["merge"] = (options, _) => (options.Experiment.Lora, options.Experiment.Scheduling) = (ExperimentLora.Merged, ExperimentScheduling.PerAdapter),
        ["per-adapter"] = (options, _) => options.Experiment.Scheduling = ExperimentScheduling.PerAdapter,
        [Packed] = (options, context) => options.Memory.PoolBytes = PackedPool(options.Memory.PoolBytes, context),
    };

    public static IEnumerable<string> Names => s_modes.Keys;

    /// Throws ArgumentException with the name and those that there are.
    public static void Require(string mode)
    {
        if (!s_modes.ContainsKey(mode))
        {
            throw new ArgumentException($"there is no mode '{mode}'; the modes are {string.Join(", ", Names)}");
        }
    }

    /// Throws ArgumentException too where the mode cannot be made from the options, whatever the cell.
    public static void Require(string mode, SLoRAOptions options)
    {
        Require(mode);
        if (mode == Packed && options.Memory.PoolBytes == 0)
        {
            throw new ArgumentException("--pool-bytes is 0; packed copies of the model need to know what there is to share");
        }
    }

    /// Changes the options to those of the cell's mode. Throws ModeDoesNotFitException where the mode cannot serve the cell.
    public static void Apply(SLoRAOptions options, ModeContext context)
    {
        Require(context.Key.Mode, options);
        s_modes[context.Key.Mode](options, context);
    }

    /// Whether the engine that was made for one cell is the one that the other needs: a split is by the mean adapter of the
    /// set, and shares of copies by their number.
    public static bool HaveOneEngine(PaperKey one, PaperKey other) => one.Mode == other.Mode && one.Mode switch
    {
        Split => (one.Set, one.Adapters) == (other.Set, other.Adapters),
        Packed => one.Adapters == other.Adapters,
        _ => true,
    };

    /// Whether requests of this mode name no adapter: what they would compute is in the weights.
    public static bool IsMerged(string mode) => mode == Packed;

    private static void SplitMemory(SLoRAOptions options, ModeContext context)
    {
        var rows = options.Scheduler.MaxBatchRows > 0 ? options.Scheduler.MaxBatchRows : options.Scheduler.MaxSequences;
        options.Experiment.Memory = ExperimentMemory.Split;
        options.Experiment.MeanAdapterBytes = context.MeanAdapterBytes;
        options.Experiment.Concurrency = rows > 0 ? Math.Min(rows, context.Key.Adapters) : context.Key.Adapters;
    }

    private static long PackedPool(long poolBytes, ModeContext context)
    {
        var share = (poolBytes + context.WeightBytes) / context.Key.Adapters - context.WeightBytes;
        var smallest = context.LongestTokens * context.Shape.KvBytesPerToken(context.ElementBytes);
        return share >= smallest ? share : throw new ModeDoesNotFitException(
            $"{context.Key.Adapters} copies of {context.WeightBytes} bytes leave {Math.Max(0, share)} bytes of KV each of {poolBytes + context.WeightBytes} in all; a request needs {smallest}");
    }
}

/// A mode cannot serve a cell in the memory that there is: a result, not a failure.
internal sealed class ModeDoesNotFitException(string message) : SLoRAException(message);
