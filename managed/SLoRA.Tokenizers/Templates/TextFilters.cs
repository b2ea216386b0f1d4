// Filters that work on the text of a value.

using System.Text;

namespace SLoRA.Tokenizers.Templates;

internal static class TextFilters
{
    private const int MaxIndent = 1024;

    internal static FilterFunction Map(Func<string, string> change) =>
        (target, arguments, _) => change(Values.ToText(target, arguments.Line));

    internal static object? Trim(object? target, Arguments arguments, Evaluator evaluator) =>
        PythonText.Trim(Values.ToText(target, arguments.Line), arguments.OptionalText(0, "chars"));

    internal static object? Replace(object? target, Arguments arguments, Evaluator evaluator)
    {
        string text = Values.ToText(target, arguments.Line);
        string old = Values.ToText(arguments.Required(0, "old"), arguments.Line);
        string with = Values.ToText(arguments.Required(1, "new"), arguments.Line);
        object? count = arguments.Value(2, "count", null);
        return ReplaceText(text, old, with, count is long limit ? limit : -1, arguments.Line, evaluator);
    }

    // str.replace; an empty `old` matches before every character and at the end. A negative limit is none.
    internal static string ReplaceText(string text, string old, string with, long limit, int line, Evaluator evaluator)
    {
        StringBuilder output = new();
        int from = 0;
        int at = text.IndexOf(old, StringComparison.Ordinal);
        for (long done = 0; at >= 0 && (limit < 0 || done < limit); done++)
        {
            // Counted as it grows, so that a huge result is refused before it exists.
            evaluator.Budget.Step(line);
            evaluator.Budget.Text(with.Length, line);
            output.Append(text, from, at - from).Append(with);
            from = at + old.Length;
            int next = old.Length > 0 ? from : at + 1;
            at = next <= text.Length ? text.IndexOf(old, next, StringComparison.Ordinal) : -1;
        }

        return output.Append(text, from, text.Length - from).ToString();
    }

    internal static object? Indent(object? target, Arguments arguments, Evaluator evaluator)
    {
        object? width = arguments.Value(0, "width", 4L);
        string indent = width switch
        {
            long count and >= 0 and <= MaxIndent => new string(' ', (int)count),
            string text => text,
            _ => throw arguments.Fail($"needs a number in 0 … {MaxIndent} or a string as 'width'"),
        };
        bool first = arguments.Flag(1, "first", false);
        bool blank = arguments.Flag(2, "blank", false);
        List<string> lines = PythonText.SplitLines(Values.ToText(target, arguments.Line) + "\n");
        evaluator.Budget.Step(arguments.Line, lines.Count);
        evaluator.Budget.Text(lines.Sum(line => (long)line.Length + indent.Length + 1), arguments.Line);
        return string.Join('\n', lines.Select((line, i) =>
            (i == 0 ? first : blank || line.Length > 0) ? indent + line : line));
    }

    internal static string Escape(string text) => text
        .Replace("&", "&amp;", StringComparison.Ordinal)
        .Replace("<", "&lt;", StringComparison.Ordinal)
        .Replace(">", "&gt;", StringComparison.Ordinal)
        .Replace("'", "&#39;", StringComparison.Ordinal)
        .Replace("\"", "&#34;", StringComparison.Ordinal);
}
