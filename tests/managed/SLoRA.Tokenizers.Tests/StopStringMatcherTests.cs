// Stop strings in streamed text.

using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class StopStringMatcherTests
{
    [Fact]
    public void Text_that_may_begin_a_stop_string_is_held_back()
    {
        StopStringMatcher matcher = new(["###"]);

        Assert.Equal(["a", "", "b", "", ""], [matcher.Push("a#"), matcher.Push(""), matcher.Push("b#")[1..], matcher.Push("#"), matcher.Push("#")]);
        Assert.Equal("###", matcher.Match);
    }

    [Fact]
    public void A_match_over_several_deltas_is_left_out_with_all_that_follows()
    {
        StopStringMatcher matcher = new(["</end>"]);

        Assert.Equal("Hi", matcher.Push("Hi</"));
        Assert.Equal("", matcher.Push("en"));
        Assert.Equal("", matcher.Push("d> more"));
        Assert.Equal("</end>", matcher.Match);
        Assert.Equal("", matcher.Push("again"));
        Assert.Equal("", matcher.Finish());
    }

    [Fact]
    public void Held_text_comes_out_at_the_end_of_the_stream()
    {
        StopStringMatcher matcher = new(["</end>"]);

        Assert.Equal("Hi", matcher.Push("Hi</en"));
        Assert.Equal("</en", matcher.Finish());
        Assert.Null(matcher.Match);
    }

    [Fact]
    public void A_false_start_that_holds_the_real_start_is_found()
    {
        StopStringMatcher matcher = new(["aab"]);

        Assert.Equal("a", matcher.Push("aa") + matcher.Push("a") + matcher.Push("b"));
        Assert.Equal("aab", matcher.Match);
    }

    [Fact]
    public void Without_stop_strings_all_text_passes() => Assert.Equal("abc", new StopStringMatcher([]).Push("abc"));

    [Fact]
    public void An_empty_stop_string_is_refused() => Assert.Throws<ArgumentException>(() => new StopStringMatcher([""]));

    // Small alphabets make overlaps common.
    [Fact]
    public void The_result_does_not_depend_on_the_borders_of_the_deltas()
    {
        Random random = new(5);
        for (int run = 0; run < 2000; run++)
        {
            string text = RandomText(random, random.Next(0, 20));
            string[] stops = [.. Enumerable.Range(0, random.Next(1, 4)).Select(_ => RandomText(random, random.Next(1, 5)))];
            (string Text, string? Match) expected = Reference(text, stops);

            StopStringMatcher matcher = new(stops);
            string output = "";
            for (int at = 0; at < text.Length;)
            {
                int length = Math.Min(text.Length - at, random.Next(1, 6));
                output += matcher.Push(text.Substring(at, length));
                at += length;
            }

            output += matcher.Finish();
            Assert.Equal(expected, (output, matcher.Match));
        }
    }

    // Ends at the first position where any stop string has come in full; of several the longest.
    private static (string Text, string? Match) Reference(string text, string[] stops)
    {
        for (int end = 1; end <= text.Length; end++)
        {
            string? match = stops.Where(stop => text[..end].EndsWith(stop, StringComparison.Ordinal)).MaxBy(stop => stop.Length);
            if (match is not null)
            {
                return (text[..(end - match.Length)], match);
            }
        }

        return (text, null);
    }

    private static string RandomText(Random random, int length) =>
        string.Concat(Enumerable.Range(0, length).Select(_ => "ab"[random.Next(2)]));
}
