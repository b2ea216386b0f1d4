// The one exception of templates: malformed source, an unknown construct, a limit, or the template's own
// raise_exception.

namespace SLoRA.Tokenizers.Templates;

/// <summary>A chat template cannot be parsed or rendered. The message is one line and names the place.</summary>
public sealed class TemplateException : Exception
{
    /// <summary>Creates an exception with a message only.</summary>
    /// <param name="message">What is wrong.</param>
    public TemplateException(string message)
        : base(message)
    {
    }

    /// <summary>Creates an exception with a message and a cause.</summary>
    /// <param name="message">What is wrong.</param>
    /// <param name="innerException">The cause.</param>
    public TemplateException(string message, Exception? innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Creates an exception without details.</summary>
    public TemplateException()
        : base("The chat template cannot be used.")
    {
    }

    internal TemplateException(string problem, int line)
        : base($"chat template, line {line}: {OneLine(problem)}")
    {
        Line = line;
    }

    private TemplateException(string message, int line, bool raised)
        : base(message)
    {
        Line = line;
        RaisedByTemplate = raised;
    }

    /// <summary>Line of the template (from 1), or 0 where no line is to blame.</summary>
    public int Line { get; }

    /// <summary>
    /// Whether the template itself refused the conversation by <c>raise_exception</c>; the message is then the
    /// template's own, and the caller's input is at fault.
    /// </summary>
    public bool RaisedByTemplate { get; }

    // Problems quote the template, whose texts may run over lines.
    private static string OneLine(string problem) =>
        problem.Replace("\r", "\\r", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);

    internal static TemplateException FromTemplate(string message, int line) => new(message, line, true);
}
