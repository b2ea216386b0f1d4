// One line of a trace.
namespace SLoRA.Bench.Traces;

/// Arrives at `Seconds` after the start; `Adapter` is an index into the adapter set, -1 the base model.
internal readonly record struct TraceRequest(double Seconds, int Adapter, int PromptTokens, int OutputTokens);
