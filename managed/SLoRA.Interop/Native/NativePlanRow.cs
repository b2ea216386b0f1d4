// The constructor that the generated struct lacks.
namespace SLoRA.Interop.Native;

public partial struct NativePlanRow
{
    /// <summary>A row of a plan.</summary>
    /// <param name="sequenceId">The sequence that runs.</param>
    /// <param name="firstToken">Index in its history of the first token to compute: the engine's num_computed.</param>
    /// <param name="numTokens">How many tokens to compute, at least 1.</param>
    /// <param name="flags">Whether to sample and whether to return logits.</param>
    public NativePlanRow(ulong sequenceId, uint firstToken, uint numTokens, NativeRowFlags flags)
        : this()
    {
        SequenceId = sequenceId;
        FirstToken = firstToken;
        NumTokens = numTokens;
        Flags = (uint)flags;
    }
}
