// str.split and its kin.

namespace SLoRA.Tokenizers.Templates;

internal static class TextSplit
{
    internal static object? Split(string text, Arguments arguments, Evaluator evaluator)
    {
        long limit = Limit(arguments);
        string? separator = Separator(arguments);
        return separator is null ? SplitOnSpace(text, limit) : SplitOn(text, separator, limit);
    }

    internal static object? SplitFromEnd(string text, Arguments arguments, Evaluator evaluator)
    {
        long limit = Limit(arguments);
        string separator = Separator(arguments) ?? throw arguments.Fail("without a separator is not supported");
        List<object?> parts = [];
        int end = text.Length;
        while (parts.Count < limit && end > 0)
        {
            int at = text.LastIndexOf(separator, end - 1, end, StringComparison.Ordinal);
            if (at < 0)
            {
                break;
            }

            parts.Add(text[(at + separator.Length)..end]);
            end = at;
        }

        parts.Add(text[..end]);
        parts.Reverse();
        return parts;
    }

    internal static object?[] Partition(string text, Arguments arguments, bool fromEnd)
    {
        string separator = arguments.Text(0, "sep");
        if (separator.Length == 0)
        {
            throw arguments.Fail("needs a separator that is not empty");
        }

        int at = fromEnd
            ? text.LastIndexOf(separator, StringComparison.Ordinal)
            : text.IndexOf(separator, StringComparison.Ordinal);
        if (at < 0)
        {
            return fromEnd ? ["", "", text] : [text, "", ""];
        }

        return [text[..at], separator, text[(at + separator.Length)..]];
    }

    private static string? Separator(Arguments arguments)
    {
        string? separator = arguments.OptionalText(0, "sep");
        return separator is "" ? throw arguments.Fail("needs a separator that is not empty") : separator;
    }

    private static long Limit(Arguments arguments) =>
        arguments.Integer(1, "maxsplit", -1) is >= 0 and var limit ? limit : long.MaxValue;

    private static List<object?> SplitOn(string text, string separator, long limit)
    {
        List<object?> parts = [];
        int from = 0;
        while (parts.Count < limit)
        {
            int at = text.IndexOf(separator, from, StringComparison.Ordinal);
            if (at < 0)
            {
                break;
            }

            parts.Add(text[from..at]);
            from = at + separator.Length;
        }

        parts.Add(text[from..]);
        return parts;
    }

    private static List<object?> SplitOnSpace(string text, long limit)
    {
        List<object?> parts = [];
        int at = SkipSpace(text, 0);
        while (at < text.Length)
        {
            if (parts.Count == limit)
            {
                parts.Add(PythonText.TrimEnd(text[at..]));
                break;
            }

            int from = at;
            while (at < text.Length && !PythonText.IsSpace(text[at]))
            {
                at++;
            }

            parts.Add(text[from..at]);
            at = SkipSpace(text, at);
        }

        return parts;
    }

    private static int SkipSpace(string text, int at)
    {
        while (at < text.Length && PythonText.IsSpace(text[at]))
        {
            at++;
        }

        return at;
    }
}
