// The sizes of a model that traffic and time are worked out from, by the share of a rank.
using SLoRA.Bench.Models;

namespace SLoRA.Cli.Bench.TensorParallel;

internal sealed record TpShape(string Name, int NumLayers, int HiddenSize, int IntermediateSize, int NumHeads, int NumKvHeads, int HeadSize, int VocabSize)
{
    /// Weights of one layer that a rank of `ranks` holds; kv heads are replicated where there are more ranks than they.
    public double LayerWeights(int ranks)
    {
        var kvHeads = Math.Max(NumKvHeads / (double)ranks, 1);
        var attention = ((2.0 * NumHeads / ranks) + (2 * kvHeads)) * HeadSize * HiddenSize;
        return attention + (3.0 * IntermediateSize / ranks * HiddenSize);
    }

    /// The same of the matmuls that read a sum over the ranks.
    public double QkvWeights(int ranks) => ((NumHeads / (double)ranks) + (2 * Math.Max(NumKvHeads / (double)ranks, 1))) * HeadSize * HiddenSize;

    public double GateUpWeights(int ranks) => 2.0 * IntermediateSize / ranks * HiddenSize;

    public double HeadWeights(int ranks) => (double)VocabSize / ranks * HiddenSize;

    /// K and V of one token in all layers on one rank, in elements.
    public double KvElementsPerToken(int ranks) => 2.0 * NumLayers * Math.Max(NumKvHeads / (double)ranks, 1) * HeadSize;

    /// Throws ArgumentException naming the file and the key that is missing.
    public static TpShape Read(string folder)
    {
        var sizes = ModelShape.Read(folder);
        return new TpShape(
            Path.GetFileName(Path.TrimEndingDirectorySeparator(folder)),
            sizes.NumLayers, sizes.HiddenSize, sizes.IntermediateSize, sizes.NumHeads, sizes.NumKvHeads, sizes.HeadSize, sizes.VocabSize);
    }
}
