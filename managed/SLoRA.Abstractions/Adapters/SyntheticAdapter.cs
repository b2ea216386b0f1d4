// An adapter made of random weights.
namespace SLoRA;

/// <summary>An adapter without files: random weights, to measure speed and memory with.</summary>
/// <param name="LoraRank">LoRA rank of every module it changes, 1 or more.</param>
/// <param name="Seed">The same seed and shape give the same weights.</param>
/// <param name="Modules">Bit i: module i of q, k, v, o, gate, up, down; 0: all.</param>
public sealed record SyntheticAdapter(int LoraRank, ulong Seed = 0, uint Modules = 0);
