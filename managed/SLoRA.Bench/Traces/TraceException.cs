// A trace that cannot be read or made.
namespace SLoRA.Bench.Traces;

/// <summary>One line: where, the value, the limit.</summary>
internal sealed class TraceException(string message) : SLoRAException(message);
