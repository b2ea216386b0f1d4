// Identity of a sequence: one of the `n` continuations of a request, which the engine runs on its own.
namespace SLoRA;

/// <summary>Identity of one sequence of one engine; never reused within the engine, never 0.</summary>
/// <param name="Value">The number, handed to the native library as <c>sequence_id</c>.</param>
public readonly record struct SequenceId(ulong Value)
{
    /// <summary>The number in decimal.</summary>
    public override string ToString() => Value.ToString(System.Globalization.CultureInfo.InvariantCulture);
}
