// What an adapter's weights are read or made from.
namespace SLoRA.Engine.Native;

internal abstract record AdapterImage
{
    /// A PEFT folder.
    public sealed record Files(string Path) : AdapterImage;

    /// Random weights.
    public sealed record Synthetic(int LoraRank, ulong Seed, IReadOnlyList<string> Modules) : AdapterImage;

    /// The image of a loaded adapter, shared.
    public sealed record Shared(INativeAdapter Of) : AdapterImage;
}
