// The hand-written matchers: against .NET's regexes where those are right (text inside the BMP), and by hand beyond.

using System.Text.RegularExpressions;
using SLoRA.Tokenizers.Normalizers;
using SLoRA.Tokenizers.PreTokenizers;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class PatternPreTokenizerTests
{
    private const string Llama3 =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private const string Qwen2 =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private const string Gpt2 = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    [Theory]
    [InlineData(nameof(Llama3), Llama3)]
    [InlineData(nameof(Qwen2), Qwen2)]
    [InlineData(nameof(Gpt2), Gpt2)]
    public void Splits_are_those_of_the_regular_expression(string name, string pattern)
    {
        PatternRules rules = Rules(name);
        Regex regex = new(pattern, RegexOptions.CultureInvariant);
        Random random = new(2);
        for (int run = 0; run < 20_000; run++)
        {
            string text = string.Concat(Enumerable.Range(0, random.Next(1, 16)).Select(_ => RandomUnit(random)));
            Assert.Equal(regex.Matches(text).Select(match => match.Value), Split(rules, text));
        }
    }

    [Fact]
    public void Letters_and_digits_outside_the_BMP_are_letters_and_digits()
    {
        Assert.Equal(["\U00020BB7\U0001D4D7", " a\U0001D4D7", "\U0001D7D9\U0001D7DA\U0001D7DB", "\U0001D7DC"],
            Split(PatternRules.Llama3, "\U00020BB7\U0001D4D7 a\U0001D4D7\U0001D7D9\U0001D7DA\U0001D7DB\U0001D7DC"));
        // The symbols take as many as there are, so none is left to lead the word.
        Assert.Equal([" \U0001F642\U0001F643", "x"], Split(PatternRules.Llama3, " \U0001F642\U0001F643x"));
        Assert.Equal(["\U0001F642x"], Split(PatternRules.Llama3, "\U0001F642x"));
    }

    [Fact]
    public void The_long_s_is_an_s_without_regard_to_case() =>
        Assert.Equal(["it", "'\u017F", "x"], Split(PatternRules.Llama3, "it'\u017Fx"));

    private static PatternRules Rules(string name) => name switch
    {
        nameof(Llama3) => PatternRules.Llama3,
        nameof(Qwen2) => PatternRules.Qwen2,
        _ => PatternRules.Gpt2,
    };

    private static string RandomUnit(Random random)
    {
        string[] units =
        [
            " ", "  ", "\n", "\r", "\r\n", "\t", "\u00A0", "\u3000", "\u0085", "\u2028", "a", "B", "é", "你", "ǅ", "ʰ", "1", "23", "²",
            "Ⅳ", "٣", "'", "'s", "'S", "'re", "'Ve", "'ll", "'d", "'T", "'m", ".", "!", "\u0301", "_", "€", "\u200B", "\u0000", "\uFEFF",
        ];
        return units[random.Next(units.Length)];
    }

    private static List<string> Split(PatternRules rules, string text)
    {
        List<Piece> pieces = [];
        new PatternPreTokenizer(rules).Split(Piece.Whole(NormalizedText.FromOriginal(text, 0)), pieces);
        return [.. pieces.Select(piece => piece.Span.ToString())];
    }
}
