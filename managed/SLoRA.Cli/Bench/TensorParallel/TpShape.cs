// The sizes of a model that traffic and time are worked out from, as its config.json has them.
using System.Text.Json;

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

    public double HeadWeights(int ranks) => (double)VocabSize / ranks * HiddenSize;

    /// K and V of one token in all layers on one rank, in elements.
    public double KvElementsPerToken(int ranks) => 2.0 * NumLayers * Math.Max(NumKvHeads / (double)ranks, 1) * HeadSize;

    /// Throws ArgumentException naming the file and the key that is missing.
    public static TpShape Read(string folder)
    {
        var path = Path.Combine(folder, "config.json");
        if (!File.Exists(path))
        {
            throw new ArgumentException($"'{path}' is missing: it has the model's sizes");
        }

        using var document = JsonDocument.Parse(File.ReadAllBytes(path));
        var root = document.RootElement.TryGetProperty("text_config", out var text) ? text : document.RootElement;
        var hidden = Whole(root, "hidden_size", path);
        var heads = Whole(root, "num_attention_heads", path);
        return new TpShape(
            Path.GetFileName(Path.TrimEndingDirectorySeparator(folder)),
            Whole(root, "num_hidden_layers", path),
            hidden,
            Whole(root, "intermediate_size", path),
            heads,
            Whole(root, "num_key_value_heads", path, heads),
            Whole(root, "head_dim", path, hidden / heads),
            Whole(root, "vocab_size", path));
    }

    private static int Whole(JsonElement root, string key, string path, int? otherwise = null)
    {
        if (root.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var whole) && whole > 0)
        {
            return whole;
        }

        return otherwise ?? throw new ArgumentException($"{path}: {key} is missing or no whole number above 0");
    }
}
