// What the catalogue knows of an adapter.
namespace SLoRA;

/// <summary>One adapter of the catalogue at the moment of the snapshot.</summary>
public sealed record AdapterInfo
{
    /// <summary>The name requests use.</summary>
    public required string Name { get; init; }

    /// <summary>The folder it was read from.</summary>
    public required string Path { get; init; }

    /// <summary>Identity of this revision; 0 while it is on disk only, as are bytes and pages.</summary>
    public AdapterId Id { get; init; }

    /// <summary>Largest lora_rank of its modules; while it is on disk only, that of its configuration.</summary>
    public int LoraRank { get; init; }

    /// <summary>Short names of the modules it changes in some layer, in the model's order.</summary>
    public IReadOnlyList<string> TargetModules { get; init; } = [];

    /// <summary>Bytes of its packed image.</summary>
    public long Bytes { get; init; }

    /// <summary>Pool pages it needs when resident.</summary>
    public int Pages { get; init; }

    /// <summary>Where it is now.</summary>
    public AdapterResidency Residency { get; init; }

    /// <summary>true: once resident it is not evicted.</summary>
    public bool Pinned { get; init; }

    /// <summary>true: it brings its own chat template.</summary>
    public bool HasChatTemplate { get; init; }

    /// <summary>Requests that hold this revision.</summary>
    public int ActiveRequests { get; init; }

    /// <summary>When it was loaded, or registered if it is on disk only.</summary>
    public DateTimeOffset LoadedAt { get; init; }
}
