// Why a choice ended.
namespace SLoRA;

/// <summary>Why the output of a choice ended.</summary>
public enum FinishReason
{
    /// <summary>A stop string, a stop token or the model's own end token.</summary>
    Stop,

    /// <summary>The most tokens asked for, or the end of the context.</summary>
    Length,
}
