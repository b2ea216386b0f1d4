// One adapter handle of the bindings behind the catalogue's seam.
using SLoRA.Interop;
using SLoRA.Interop.Native;

namespace SLoRA.Engine.Native;

internal sealed class InteropAdapter : INativeAdapter
{
    // Bit i of slora_adapter_info.modules is module i of the model's module table.
    private static readonly string[] ModuleNames = ["q", "k", "v", "o", "gate", "up", "down"];

    private readonly NativeAdapter _adapter;

    public InteropAdapter(NativeAdapter adapter)
    {
        _adapter = adapter;
        var info = adapter.GetInfo();
        LoraRank = (int)info.MaxLoraRank;
        Pages = (int)info.NumPages;
        Bytes = (long)info.ImageBytes;
        Modules = [.. ModuleNames.Where((_, module) => (info.Modules & (1u << module)) != 0)];
    }

    public NativeAdapter Handle => _adapter;

    /// <exception cref="RequestInvalidException">A name is not a module's.</exception>
    public static uint ModuleMask(IReadOnlyList<string> names) => names.Aggregate(0u, (mask, name) => Array.IndexOf(ModuleNames, name) is >= 0 and var module
        ? mask | (1u << module)
        : throw new RequestInvalidException($"target_modules has '{name}'; the modules are {string.Join(", ", ModuleNames)}", "target_modules"));

    public AdapterId Id => new(_adapter.Id);

    public int LoraRank { get; }

    public int Pages { get; }

    public long Bytes { get; }

    public IReadOnlyList<string> Modules { get; }

    public AdapterResidency Residency => (NativeResidency)_adapter.GetInfo().Residency switch
    {
        NativeResidency.Device => AdapterResidency.Device,
        NativeResidency.Loading => AdapterResidency.Loading,
        _ => AdapterResidency.Host,
    };

    public void SetPinned(bool pinned) => _adapter.SetPinned(pinned);

    public void Dispose() => _adapter.Dispose();
}
