// How far a load is.
namespace SLoRA;

/// <summary>Progress of reading a model or adapters, and of recording decode steps.</summary>
/// <param name="Stage">What is being read, for a person.</param>
/// <param name="Done">Units done.</param>
/// <param name="Total">Units in all; 0 until known.</param>
public readonly record struct LoadProgress(string Stage, long Done, long Total)
{
    /// <summary>The stage in which the common decode steps are recorded.</summary>
    public const string Recording = "decode steps";
}
