// The life of an engine.
namespace SLoRA;

/// <summary>Where an engine stands. It only moves forward.</summary>
public enum EngineState
{
    /// <summary>Model and adapters are being read.</summary>
    Loading,

    /// <summary>Serving.</summary>
    Ready,

    /// <summary>Finishing what it has; takes nothing new.</summary>
    Draining,

    /// <summary>The device or an invariant failed; only disposing is left.</summary>
    Faulted,

    /// <summary>Disposed.</summary>
    Stopped,
}
