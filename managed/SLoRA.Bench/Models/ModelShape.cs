// The sizes of a model that bounds and floors are worked out from, as its config.json has them.
using System.Text.Json;

namespace SLoRA.Bench.Models;

internal sealed record ModelShape(int NumLayers, int HiddenSize, int IntermediateSize, int NumHeads, int NumKvHeads, int HeadSize, int VocabSize)
{
    /// Output and input size of the four matmuls of a layer as the engine runs them: qkv, o, gate and up, down.
    public IReadOnlyList<(int N, int K)> LayerMatmuls =>
    [
        ((NumHeads + 2 * NumKvHeads) * HeadSize, HiddenSize),
        (HiddenSize, NumHeads * HeadSize),
        (2 * IntermediateSize, HiddenSize),
        (HiddenSize, IntermediateSize),
    ];

    public long LayerParameters => LayerMatmuls.Sum(matmul => (long)matmul.N * matmul.K);

    /// Operations of one prompt token in all layers' matmuls; attention and the head, which only the last token needs, left out.
    public double PrefillOperations => 2.0 * NumLayers * LayerParameters;

    public long KvBytesPerToken(int elementBytes) => 2L * NumLayers * NumKvHeads * HeadSize * elementBytes;

    /// Throws ArgumentException naming the file and the key that is missing.
    public static ModelShape Read(string folder)
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
        return new ModelShape(
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
