// Identity of one revision of an adapter. Names are the user's and can move to a new revision; ids never do.
namespace SLoRA;

/// <summary>Identity of one revision of an adapter; given by the native library, never reused, never 0.</summary>
/// <param name="Value">The number.</param>
public readonly record struct AdapterId(ulong Value)
{
    /// <summary>The number in decimal.</summary>
    public override string ToString() => Value.ToString(System.Globalization.CultureInfo.InvariantCulture);
}
