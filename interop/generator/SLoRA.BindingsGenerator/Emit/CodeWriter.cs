// Indented text with \n line ends on every platform, so that the output of two machines is the same bytes.

using System.Globalization;
using System.Security;
using System.Text;
using System.Text.RegularExpressions;
using SLoRA.BindingsGenerator.Model;

namespace SLoRA.BindingsGenerator.Emit;

internal sealed partial class CodeWriter
{
    private const int DocWidth = 120;
    private readonly StringBuilder _text = new();
    private int _depth;

    public override string ToString() => _text.ToString();

    public void Line(string line = "")
    {
        if (line.Length > 0)
        {
            _text.Append(' ', 4 * _depth).Append(CultureInfo.InvariantCulture, $"{line}");
        }

        _text.Append('\n');
    }

    public void Block(string head, Action body)
    {
        Line(head);
        Line("{");
        _depth++;
        body();
        _depth--;
        Line("}");
    }

    /// <summary>XML documentation of a declaration: its comment, or its C name if it has none.</summary>
    public void Doc(string comment, string cName)
    {
        CommentText text = CommentText.Parse(comment);
        Element("summary", text.Paragraphs.Count > 0 ? text.Paragraphs[0] : $"<c>{cName}</c>", text.Paragraphs.Count == 0);
        string[] remarks = [.. text.Paragraphs.Skip(1), .. ThreadRemark(text)];
        if (remarks.Length > 0)
        {
            Element("remarks", string.Join(' ', remarks), false);
        }

        if (text.TagText("return") is { } result)
        {
            Element("returns", result, false);
        }
    }

    private static IEnumerable<string> ThreadRemark(CommentText text)
    {
        if (text.TagText("thread") is { } thread)
        {
            yield return $"Thread: {thread}{(text.TagText("blocks") is null ? "." : "; may block.")}";
        }
    }

    private void Element(string tag, string content, bool isXml)
    {
        string escaped = isXml ? content : SecurityElement.Escape(content).Replace("&apos;", "'", StringComparison.Ordinal)
            .Replace("&quot;", "\"", StringComparison.Ordinal);
        escaped = EnumMention().Replace(escaped, m => $"<see cref=\"{CSharpName.OfEnum(m.Groups[1].Value)}\"/>");
        string whole = $"<{tag}>{escaped}</{tag}>";
        if (whole.Length + (4 * _depth) + 4 <= DocWidth)
        {
            Line($"/// {whole}");
            return;
        }

        Line($"/// <{tag}>");
        foreach (string line in Wrap(escaped, DocWidth - (4 * _depth) - 4))
        {
            Line($"/// {line}");
        }

        Line($"/// </{tag}>");
    }

    private static IEnumerable<string> Wrap(string text, int width)
    {
        StringBuilder line = new();
        foreach (string word in text.Replace("<see cref", "<see\u00a0cref", StringComparison.Ordinal)
                     .Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(w => w.Replace('\u00a0', ' ')))
        {
            if (line.Length > 0 && line.Length + 1 + word.Length > width)
            {
                yield return line.ToString();
                line.Clear();
            }

            line.Append(line.Length > 0 ? " " : "").Append(word);
        }

        yield return line.ToString();
    }

    [GeneratedRegex(@"\benum (slora_\w+)")]
    private static partial Regex EnumMention();
}
