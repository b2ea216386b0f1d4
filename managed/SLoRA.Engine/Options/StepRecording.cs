// When decode steps are recorded.
namespace SLoRA;

/// <summary>When decode steps are recorded, to be replayed as one command (CUDA graphs).</summary>
public enum StepRecording
{
    /// <summary><see cref="AtStart"/> on CUDA, <see cref="Off"/> on the host, which gains nothing by it.</summary>
    Default,

    /// <summary>Never.</summary>
    Off,

    /// <summary>A shape of step is recorded when it comes again.</summary>
    OnUse,

    /// <summary>The common shapes before the engine is ready, the others on use.</summary>
    AtStart,
}
