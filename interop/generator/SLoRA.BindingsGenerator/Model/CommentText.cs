// A C comment as prose: markers removed, paragraphs joined, @tags apart.

using System.Text.RegularExpressions;

namespace SLoRA.BindingsGenerator.Model;

internal sealed partial class CommentText
{
    private CommentText(IReadOnlyList<string> paragraphs, IReadOnlyList<(string Tag, string Text)> tags) =>
        (Paragraphs, Tags) = (paragraphs, tags);

    /// <summary>Prose before the first tag, one string a paragraph.</summary>
    public IReadOnlyList<string> Paragraphs { get; }

    /// <summary>Tags in order: ("thread", "any"), ("blocks", ""), ("return", "SLORA_OK; ...").</summary>
    public IReadOnlyList<(string Tag, string Text)> Tags { get; }

    public string? TagText(string tag) => Tags.Where(t => t.Tag == tag).Select(t => t.Text).FirstOrDefault();

    public static CommentText Parse(string comment)
    {
        // "---- the step ----" parts a header's sections and describes no declaration.
        IEnumerable<string> lines = comment.Split('\n').Select(StripMarkers)
            .Where(l => !l.StartsWith("----", StringComparison.Ordinal));
        List<List<string>> paragraphs = [[]];
        List<(string Tag, string Text)> tags = [];
        foreach (string line in lines)
        {
            if (line.StartsWith('@'))
            {
                tags.AddRange(SplitTags(line));
            }
            else if (tags.Count > 0)
            {
                tags[^1] = (tags[^1].Tag, $"{tags[^1].Text} {line}".Trim());
            }
            else if (line.Length == 0)
            {
                paragraphs.Add([]);
            }
            else
            {
                paragraphs[^1].Add(line);
            }
        }

        return new CommentText([.. paragraphs.Where(p => p.Count > 0).Select(p => string.Join(' ', p))], tags);
    }

    // "@thread any @blocks" is two tags; an @ inside a word is text.
    private static IEnumerable<(string Tag, string Text)> SplitTags(string line) =>
        TagPattern().Matches(line).Select(m => (m.Groups[1].Value, m.Groups[2].Value.Trim()));

    private static string StripMarkers(string line)
    {
        string text = line.Trim();
        text = text.StartsWith("/*", StringComparison.Ordinal) ? text[2..] : text;
        text = text.EndsWith("*/", StringComparison.Ordinal) ? text[..^2] : text;
        return text.TrimStart('*', ' ').TrimEnd();
    }

    [GeneratedRegex(@"@(\w+)\s*((?:(?!\s@\w).)*)")]
    private static partial Regex TagPattern();
}
