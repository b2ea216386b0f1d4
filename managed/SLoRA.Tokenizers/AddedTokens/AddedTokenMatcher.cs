// Finds added tokens in a text: of the matches that start left-most, the longest; matches do not overlap. A trie over
// UTF-16 units, entered only at characters that can start a token.

using System.Buffers;
using System.Globalization;
using System.Text;

namespace SLoRA.Tokenizers.AddedTokens;

internal sealed class AddedTokenMatcher
{
    private readonly Node _root = new();
    private readonly SearchValues<char> _firstChars;

    internal AddedTokenMatcher(IEnumerable<(string Pattern, AddedToken Token)> patterns)
    {
        foreach ((string pattern, AddedToken token) in patterns)
        {
            Node node = _root;
            foreach (char c in pattern)
            {
                node = node.Children.TryGetValue(c, out Node? child) ? child : node.Children[c] = new Node();
            }

            // The first token of a pattern wins.
            node.Token ??= token;
        }

        _firstChars = SearchValues.Create([.. _root.Children.Keys]);
    }

    private sealed class Node
    {
        public Dictionary<char, Node> Children { get; } = [];

        public AddedToken? Token { get; set; }
    }

    // Calls `found` for each part of the text in order: plain text with a null token, or the place of a token.
    internal void Split(string text, Action<AddedToken?, int, int> found)
    {
        int plain = 0;
        int at = 0;
        while (at < text.Length)
        {
            int offset = text.AsSpan(at).IndexOfAny(_firstChars);
            if (offset < 0)
            {
                break;
            }

            at += offset;
            AddedToken? token = LongestAt(text, at, out int end);
            if (token is null)
            {
                at++;
                continue;
            }

            int matchStart = at;
            at = end;
            if (token.SingleWord && (EndsWithWord(text, matchStart) || StartsWithWord(text, end)))
            {
                continue;
            }

            (int start, int stop) = Widen(token, text, plain, matchStart, end);
            Report(found, null, plain, start);
            Report(found, token, start, stop);
            plain = stop;
            at = stop;
        }

        Report(found, null, plain, text.Length);
    }

    private static void Report(Action<AddedToken?, int, int> found, AddedToken? token, int start, int end)
    {
        if (end > start)
        {
            found(token, start, end);
        }
    }

    private AddedToken? LongestAt(string text, int start, out int end)
    {
        AddedToken? longest = null;
        end = start;
        Node node = _root;
        for (int i = start; i < text.Length && node.Children.TryGetValue(text[i], out Node? child); i++)
        {
            node = child;
            if (node.Token is not null)
            {
                (longest, end) = (node.Token, i + 1);
            }
        }

        return longest;
    }

    private static (int Start, int End) Widen(AddedToken token, string text, int floor, int start, int end)
    {
        // Spaces that the token before has taken stay with it.
        while (token.LeftStrip && start > floor && char.IsWhiteSpace(text[start - 1]))
        {
            start--;
        }

        while (token.RightStrip && end < text.Length && char.IsWhiteSpace(text[end]))
        {
            end++;
        }

        return (start, end);
    }

    private static bool EndsWithWord(string text, int end) =>
        Rune.DecodeLastFromUtf16(text.AsSpan(0, end), out Rune rune, out _) == OperationStatus.Done && IsWord(rune);

    private static bool StartsWithWord(string text, int start) =>
        Rune.DecodeFromUtf16(text.AsSpan(start), out Rune rune, out _) == OperationStatus.Done && IsWord(rune);

    // \w of Rust's regexes, up to a few Other_Alphabetic symbols: letters, marks, decimal and letter numbers,
    // connectors, joiners.
    private static bool IsWord(Rune rune) =>
        rune.Value is 0x200C or 0x200D
        || Rune.GetUnicodeCategory(rune) is UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter
            or UnicodeCategory.TitlecaseLetter or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter
            or UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark
            or UnicodeCategory.EnclosingMark or UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber
            or UnicodeCategory.ConnectorPunctuation;
}
