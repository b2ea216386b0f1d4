// Makes the adapters of one SyntheticAdapters: image by image on all processors, each image's first adapter packing it
// and the others sharing it.
using SLoRA.Engine.Native;

namespace SLoRA.Engine.Catalog;

internal sealed class SyntheticLoader(INativeEngine native, SyntheticAdapters adapters, IProgress<LoadProgress>? progress, TimeProvider time)
{
    private int _done;

    /// Fills `made` by index; on failure some of it is filled, and the caller's to retire.
    public Task LoadAsync(AdapterRevision?[] made, CancellationToken ct) => Parallel.ForAsync(
        0,
        adapters.NumImages,
        ct,
        (image, token) =>
        {
            INativeAdapter? first = null;
            for (var i = image; i < adapters.Count; i += adapters.NumImages)
            {
                token.ThrowIfCancellationRequested();
                var adapter = native.LoadAdapter(first is null ? ImageOf(image) : new AdapterImage.Shared(first), pinned: false, null, token);
                first ??= adapter;
                made[i] = new AdapterRevision(new AdapterSource(adapters.NameOf(i), $"synthetic image {image}"), adapter, null, time.GetUtcNow());
                progress?.Report(new LoadProgress(adapters.NameOf(i), Interlocked.Increment(ref _done), adapters.Count));
            }

            return ValueTask.CompletedTask;
        });

    private AdapterImage.Synthetic ImageOf(int image) =>
        new(adapters.LoraRanks[image % adapters.LoraRanks.Count], adapters.Seed + (ulong)image, adapters.TargetModules);
}
