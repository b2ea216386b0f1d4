namespace SLoRA.BindingsGenerator;

/// <summary>What the person who runs the generator must mend: a missing package, or a header it cannot express.</summary>
internal sealed class GeneratorException(string message) : Exception(message);
