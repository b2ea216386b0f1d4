namespace SLoRA.Interop;

/// <summary>How to read an adapter: a folder, random weights of a given LoRA rank, or the image of another.</summary>
public sealed record NativeAdapterLoadOptions
{
    /// <summary>PEFT folder: adapter_config.json and adapter_model.safetensors; null for a synthetic adapter.</summary>
    public string? Path { get; init; }

    /// <summary>LoRA rank of random weights; 0 to read files.</summary>
    public int SyntheticLoraRank { get; init; }

    /// <summary>Seed of random weights.</summary>
    public ulong SyntheticSeed { get; init; }

    /// <summary>Modules of a synthetic adapter, bit i: module i of q, k, v, o, gate, up, down; 0: all.</summary>
    public uint SyntheticModules { get; init; }

    /// <summary>An adapter of the same engine whose weights and host image the new one shares; path and rank must not be set.
    /// Either may be disposed first.</summary>
    public NativeAdapter? ShareImageOf { get; init; }

    /// <summary>Whether it stays resident once it is.</summary>
    public bool Pinned { get; init; }
}
