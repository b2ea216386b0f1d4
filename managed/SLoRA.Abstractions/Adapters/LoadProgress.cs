// How far a load is.
namespace SLoRA;

/// <summary>Progress of reading a model or adapters.</summary>
/// <param name="Stage">What is being read, for a person.</param>
/// <param name="Done">Units done.</param>
/// <param name="Total">Units in all; 0 until known.</param>
public readonly record struct LoadProgress(string Stage, long Done, long Total);
