// The sizes of a model that bounds and floors are worked out from, as its config.json has them.
using System.Text.Json;

namespace SLoRA.Bench.Models;

internal sealed record ModelShape(int NumLayers, int HiddenSize, int IntermediateSize, int NumHeads, int NumKvHeads, int HeadSize, int VocabSize)
{
    private static readonly string[] s_ropeKeys = ["rope_scaling", "rope_parameters"];

    /// Tokens that the model was made for; 0: only the engine knows, or the file does not say.
    public int MaxContext { get; init; }

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

    /// Bytes of an adapter a unit of lora_rank: a row of A and one of B of each module. `modules` is a mask of q, k, v, o, gate,
    /// up, down; 0: all.
    public long AdapterBytesPerRank(uint modules, int elementBytes)
    {
        var (q, kv) = (NumHeads * HeadSize, NumKvHeads * HeadSize);
        long[] rows = [HiddenSize + q, HiddenSize + kv, HiddenSize + kv, q + HiddenSize, HiddenSize + IntermediateSize, HiddenSize + IntermediateSize, IntermediateSize + HiddenSize];
        return (long)NumLayers * elementBytes * rows.Where((_, module) => modules == 0 || (modules >> module & 1) != 0).Sum();
    }

    /// Tokens of the longest sequence of an engine that is asked for so many.
    public int ContextOf(int wanted) => MaxContext > 0 ? Math.Min(wanted, MaxContext) : wanted;

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
            Whole(root, "vocab_size", path))
        {
            MaxContext = IsStretched(root) ? 0 : Whole(root, "max_position_embeddings", path, 0),
        };
    }

    // A dynamic rotary embedding goes past the trained length, as far as the engine says.
    private static bool IsStretched(JsonElement root) =>
        s_ropeKeys.Any(key => root.TryGetProperty(key, out var rope) && rope.ValueKind == JsonValueKind.Object && rope.GetRawText().Contains("\"dynamic\"", StringComparison.Ordinal));

    private static int Whole(JsonElement root, string key, string path, int? otherwise = null)
    {
        if (root.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var whole) && whole > 0)
        {
            return whole;
        }

        return otherwise ?? throw new ArgumentException($"{path}: {key} is missing or no whole number above 0");
    }
}
