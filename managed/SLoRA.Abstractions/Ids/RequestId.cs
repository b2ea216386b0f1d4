// Identity of a request, as the user sees it in logs and responses.
namespace SLoRA;

/// <summary>Identity of one request of one engine; never reused within the engine, never 0.</summary>
/// <param name="Value">The number.</param>
public readonly record struct RequestId(ulong Value)
{
    /// <summary>The number in decimal.</summary>
    public override string ToString() => Value.ToString(System.Globalization.CultureInfo.InvariantCulture);
}
