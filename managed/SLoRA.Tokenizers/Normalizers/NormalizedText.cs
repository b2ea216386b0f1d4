// A text on its way to the model together with where each of its characters came from. Immutable; normalizers make new
// ones. Identity alignment is kept as null arrays, because most models never change the text.

namespace SLoRA.Tokenizers.Normalizers;

internal sealed class NormalizedText
{
    // For position i of Text: the original range [_starts[i], _ends[i]), relative to _origin.
    private readonly int[]? _starts;
    private readonly int[]? _ends;
    private readonly int _origin;

    private NormalizedText(string text, int origin, int[]? starts, int[]? ends)
    {
        Text = text;
        _origin = origin;
        _starts = starts;
        _ends = ends;
    }

    internal string Text { get; }

    // Where the text starts in the original one; 0 means "first" for Metaspace.
    internal int Origin => _origin;

    internal static NormalizedText FromOriginal(string text, int origin) => new(text, origin, null, null);

    internal int OriginalStart(int position) => _origin + (_starts is null ? position : _starts[position]);

    internal int OriginalEnd(int position) => _origin + (_ends is null ? position + 1 : _ends[position]);

    internal NormalizedText Slice(int start, int end)
    {
        if (start == 0 && end == Text.Length)
        {
            return this;
        }

        if (_starts is null || _ends is null)
        {
            return new NormalizedText(Text[start..end], _origin + start, null, null);
        }

        return new NormalizedText(Text[start..end], _origin, _starts[start..end], _ends[start..end]);
    }

    // The prefix shares the place of the first character, as in the tokenizers library.
    internal NormalizedText Prepend(string prefix)
    {
        if (Text.Length == 0 || prefix.Length == 0)
        {
            return this;
        }

        Builder builder = new(this, Text.Length + prefix.Length);
        builder.AppendReplacement(prefix, 0, char.IsHighSurrogate(Text[0]) ? 2 : 1);
        builder.AppendKept(0, Text.Length);
        return builder.Build();
    }

    internal NormalizedText ReplaceAll(string pattern, string content)
    {
        int at = Text.IndexOf(pattern, StringComparison.Ordinal);
        if (at < 0)
        {
            return this;
        }

        if (pattern.Length == content.Length && pattern.Length == 1)
        {
            return new NormalizedText(
                Text.Replace(pattern, content, StringComparison.Ordinal), _origin, _starts, _ends);
        }

        Builder builder = new(this, Text.Length);
        int from = 0;
        while (at >= 0)
        {
            builder.AppendKept(from, at);
            builder.AppendReplacement(content, at, at + pattern.Length);
            from = at + pattern.Length;
            at = Text.IndexOf(pattern, from, StringComparison.Ordinal);
        }

        builder.AppendKept(from, Text.Length);
        return builder.Build();
    }

    // Collects the new text and, side by side, the alignment of each of its characters.
    internal sealed class Builder(NormalizedText source, int capacity)
    {
        private readonly System.Text.StringBuilder _text = new(capacity);
        private readonly List<int> _newStarts = new(capacity);
        private readonly List<int> _newEnds = new(capacity);

        internal void AppendKept(int start, int end)
        {
            _text.Append(source.Text, start, end - start);
            for (int i = start; i < end; i++)
            {
                _newStarts.Add(source.OriginalStart(i) - source._origin);
                _newEnds.Add(source.OriginalEnd(i) - source._origin);
            }
        }

        // Every new character stands for the whole replaced range [start, end).
        internal void AppendReplacement(string content, int start, int end)
        {
            _text.Append(content);
            for (int i = 0; i < content.Length; i++)
            {
                _newStarts.Add(source.OriginalStart(start) - source._origin);
                _newEnds.Add(source.OriginalEnd(end - 1) - source._origin);
            }
        }

        internal NormalizedText Build() => new(_text.ToString(), source._origin, [.. _newStarts], [.. _newEnds]);
    }
}
