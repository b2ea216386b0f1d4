namespace SLoRA.Interop;

/// <summary>What was being done when the library refused: the same status means different things to a caller.</summary>
internal enum NativeOperation
{
    Engine,
    LoadModel,
    LoadAdapter,
    CreateSequence,
}
