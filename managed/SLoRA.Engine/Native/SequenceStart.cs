// A sequence as the native engine is to create it. Read during the call only.
namespace SLoRA.Engine.Native;

internal sealed record SequenceStart(
    ulong SequenceId, int[] PromptTokens, int MaxTokens, SequenceAdapter[] Adapters, SamplingOptions Sampling, ulong Seed);
