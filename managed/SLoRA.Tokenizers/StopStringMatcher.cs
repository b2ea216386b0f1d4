// Finds stop strings in streamed text. Owns the tail that could still become one; knows nothing of tokens.

using System.Text;

namespace SLoRA.Tokenizers;

/// <summary>
/// Watches a stream of text for stop strings. Gives out only text that cannot be part of one, so a client never sees a
/// stop string or a piece of it. Not safe for concurrent use.
/// </summary>
public sealed class StopStringMatcher
{
    private readonly string[] _stops;
    private readonly StringBuilder _held = new();

    /// <summary>Creates a matcher.</summary>
    /// <param name="stopStrings">The stop strings; none may be empty. Compared by UTF-16 units.</param>
    /// <exception cref="ArgumentException">A stop string is null or empty.</exception>
    public StopStringMatcher(IReadOnlyList<string> stopStrings)
    {
        ArgumentNullException.ThrowIfNull(stopStrings);
        if (stopStrings.Any(string.IsNullOrEmpty))
        {
            throw new ArgumentException("A stop string must not be empty.", nameof(stopStrings));
        }

        _stops = [.. stopStrings.Distinct()];
    }

    /// <summary>The stop string that was found, or null. Once set, all further text is dropped.</summary>
    public string? Match { get; private set; }

    /// <summary>Adds new text of the stream.</summary>
    /// <param name="delta">The text.</param>
    /// <returns>Text that is safe to give out now, without the stop string.</returns>
    public string Push(string delta)
    {
        ArgumentNullException.ThrowIfNull(delta);
        if (Match is not null || delta.Length == 0)
        {
            return "";
        }

        string text = _held.Append(delta).ToString();
        _held.Clear();
        if (TryFind(text, out int at, out string stop))
        {
            Match = stop;
            return text[..at];
        }

        int safe = text.Length - HeldLength(text);
        _held.Append(text, safe, text.Length - safe);
        return text[..safe];
    }

    /// <summary>Ends the stream: text held back as a possible stop string comes out.</summary>
    /// <returns>The last text; empty after a match.</returns>
    public string Finish()
    {
        string text = _held.ToString();
        _held.Clear();
        return text;
    }

    // The match that ends first, of those the longest: what a stream of single characters would find, so that the
    // result does not depend on where the borders of the deltas fall.
    private bool TryFind(string text, out int at, out string stop)
    {
        at = -1;
        stop = "";
        foreach (string candidate in _stops)
        {
            int found = text.IndexOf(candidate, StringComparison.Ordinal);
            int end = found + candidate.Length;
            if (found >= 0 && (at < 0 || end < at + stop.Length || (end == at + stop.Length && found < at)))
            {
                (at, stop) = (found, candidate);
            }
        }

        return at >= 0;
    }

    // Length of the longest tail that is the start of a stop string.
    private int HeldLength(string text)
    {
        int longest = 0;
        foreach (string stop in _stops)
        {
            for (int length = Math.Min(stop.Length - 1, text.Length); length > longest; length--)
            {
                if (text.AsSpan(text.Length - length).SequenceEqual(stop.AsSpan(0, length)))
                {
                    longest = length;
                }
            }
        }

        return longest;
    }
}
