// Which adapter a request uses and how strongly.
namespace SLoRA;

/// <summary>An adapter of a request.</summary>
/// <param name="Name">Its name in the catalogue.</param>
/// <param name="Scale">Factor on the adapter's own scale; 1 is as trained. Finite.</param>
public sealed record AdapterWeight(string Name, float Scale = 1f)
{
    /// <summary>An adapter as it was trained.</summary>
    /// <param name="name">Its name in the catalogue.</param>
    public static implicit operator AdapterWeight(string name) => new(name);

    internal void Validate()
    {
        Check.That(!string.IsNullOrEmpty(Name), "adapters", "adapters: an adapter has no name");
        Check.That(float.IsFinite(Scale), "adapters", $"adapters: scale of '{Name}' is {Scale}; it must be finite");
    }
}
