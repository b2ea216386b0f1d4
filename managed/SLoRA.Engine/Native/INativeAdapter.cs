// One loaded revision of an adapter. Disposing gives the handle back; sequences that hold it run on.
namespace SLoRA.Engine.Native;

internal interface INativeAdapter : IDisposable
{
    AdapterId Id { get; }

    int LoraRank { get; }

    int Pages { get; }

    long Bytes { get; }

    IReadOnlyList<string> Modules { get; }

    AdapterResidency Residency { get; }

    void SetPinned(bool pinned);
}
