// How much a template may ask of the host. A template is data from a model or adapter folder, so every loop, text and
// recursion it can cause is bounded.

namespace SLoRA.Tokenizers.Templates;

/// <summary>Bounds on parsing and rendering one template. Exceeding one throws <see cref="TemplateException"/>.</summary>
public sealed record TemplateLimits
{
    /// <summary>The bounds used where none are given; far above what published templates need.</summary>
    public static TemplateLimits Default { get; } = new();

    /// <summary>Most characters (UTF-16 units) of source. Large published templates have about 20,000.</summary>
    public int MaxSourceChars { get; init; } = 512 * 1024;

    /// <summary>Most nested blocks and parentheses in the source.</summary>
    public int MaxNesting { get; init; } = 100;

    /// <summary>Most evaluated expressions and loop iterations in one rendering.</summary>
    public int MaxSteps { get; init; } = 1_000_000;

    /// <summary>Most characters of output, and of any text on the way.</summary>
    public int MaxOutputChars { get; init; } = 4 * 1024 * 1024;

    /// <summary>Most characters of all texts made or searched in one rendering.</summary>
    public long MaxTextWork { get; init; } = 64L * 1024 * 1024;

    /// <summary>Most nested evaluations, which also bounds recursive macros and nested values.</summary>
    public int MaxDepth { get; init; } = 300;
}
