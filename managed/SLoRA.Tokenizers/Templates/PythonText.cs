// Text as Python sees it: its white space, its code points, its case rules. Templates are written for Python.

using System.Globalization;
using System.Text;

namespace SLoRA.Tokenizers.Templates;

internal static class PythonText
{
    // str.isspace: Unicode's white space and the four information separators.
    internal static bool IsSpace(char c) => char.IsWhiteSpace(c) || c is >= '\x1C' and <= '\x1F';

    internal static bool IsBlank(ReadOnlySpan<char> text)
    {
        foreach (char c in text)
        {
            if (!IsSpace(c))
            {
                return false;
            }
        }

        return true;
    }

    internal static string TrimStart(string text, string? chars = null)
    {
        int from = 0;
        while (from < text.Length && IsStripped(text[from], chars))
        {
            from++;
        }

        return text[from..];
    }

    internal static string TrimEnd(string text, string? chars = null)
    {
        int to = text.Length;
        while (to > 0 && IsStripped(text[to - 1], chars))
        {
            to--;
        }

        return text[..to];
    }

    internal static string Trim(string text, string? chars = null) => TrimStart(TrimEnd(text, chars), chars);

    internal static int Length(string text)
    {
        int pairs = 0;
        foreach (char c in text)
        {
            pairs += char.IsLowSurrogate(c) ? 1 : 0;
        }

        return text.Length - pairs;
    }

    // The code points as strings, for indexing and iterating. Only texts with pairs need more than their units.
    internal static string[] Characters(string text)
    {
        List<string> result = new(text.Length);
        for (int i = 0; i < text.Length; i++)
        {
            int size = char.IsHighSurrogate(text[i]) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]) ? 2 : 1;
            result.Add(text.Substring(i, size));
            i += size - 1;
        }

        return [.. result];
    }

    // str.upper; of the letters that become two, only ß is known here.
    internal static string Upper(string text) =>
        text.ToUpperInvariant().Replace("\u00DF", "SS", StringComparison.Ordinal);

    internal static string Lower(string text) => text.ToLowerInvariant();

    // str.title: a letter after a letter is lower case, any other upper case.
    internal static string Title(string text)
    {
        StringBuilder result = new(text.Length);
        bool inWord = false;
        foreach (char c in text)
        {
            result.Append(inWord ? char.ToLowerInvariant(c) : char.ToUpperInvariant(c));
            inWord = char.IsLetter(c) && char.GetUnicodeCategory(c) != UnicodeCategory.OtherLetter;
        }

        return result.ToString();
    }

    internal static string Capitalize(string text) =>
        text.Length == 0 ? text : Upper(text[..1]) + Lower(text[1..]);

    // Jinja's title filter: words begin at the start and after white space, hyphens and opening brackets.
    internal static string TitleFilter(string text)
    {
        StringBuilder result = new(text.Length);
        bool inWord = false;
        foreach (char c in text)
        {
            bool separator = IsSpace(c) || "-({[<".Contains(c, StringComparison.Ordinal);
            result.Append(inWord ? char.ToLowerInvariant(c) : char.ToUpperInvariant(c));
            inWord = !separator;
        }

        return result.ToString();
    }

    internal static List<string> SplitLines(string text)
    {
        List<string> lines = [];
        int from = 0;
        for (int i = 0; i < text.Length; i++)
        {
            if (!IsLineEnd(text[i]))
            {
                continue;
            }

            lines.Add(text[from..i]);
            i += text[i] == '\r' && i + 1 < text.Length && text[i + 1] == '\n' ? 1 : 0;
            from = i + 1;
        }

        if (from < text.Length)
        {
            lines.Add(text[from..]);
        }

        return lines;
    }

    private static bool IsLineEnd(char c) =>
        c is '\n' or '\r' or '\v' or '\f' or (>= '\x1C' and <= '\x1E') or '\u0085' or '\u2028' or '\u2029';

    private static bool IsStripped(char c, string? chars) =>
        chars is null ? IsSpace(c) : chars.Contains(c, StringComparison.Ordinal);
}
