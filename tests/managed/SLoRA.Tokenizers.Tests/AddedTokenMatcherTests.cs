// Added tokens in text: left-most, longest, with the white space and the words around them.

using SLoRA.Tokenizers.AddedTokens;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class AddedTokenMatcherTests
{
    [Fact]
    public void The_longest_of_the_left_most_tokens_is_taken() =>
        Assert.Equal("x[<a>]y[<a>b]", Split("x<a>y<a>b", Token("<a>"), Token("<a>b")));

    [Fact]
    public void A_longer_token_that_does_not_end_leaves_the_shorter_one() =>
        Assert.Equal("[ab]cx", Split("abcx", Token("ab"), Token("abcd")));

    [Fact]
    public void Tokens_follow_one_another_without_text_between() =>
        Assert.Equal("[<a>][<a>]", Split("<a><a>", Token("<a>")));

    [Fact]
    public void Strips_take_the_white_space_beside_the_token() =>
        Assert.Equal("a[ \n<l>] b[<r> \t]c", Split("a \n<l> b<r> \tc", Token("<l>") with { LeftStrip = true }, Token("<r>") with { RightStrip = true }));

    [Fact]
    public void White_space_goes_to_the_first_token_that_takes_it() =>
        Assert.Equal("[<r>  ][<l>]", Split("<r>  <l>", Token("<r>") with { RightStrip = true }, Token("<l>") with { LeftStrip = true }));

    [Fact]
    public void A_single_word_is_not_found_inside_of_a_word() =>
        Assert.Equal("category [cat] cat_ écat [cat]!", Split("category cat cat_ écat cat!", Token("cat") with { SingleWord = true }));

    [Fact]
    public void Without_tokens_the_text_stays_whole() => Assert.Equal("abc", Split("abc"));

    private static AddedToken Token(string content) => new(1, content, true, false, false, false, false);

    private static string Split(string text, params AddedToken[] tokens)
    {
        string result = "";
        AddedTokenMatcher matcher = new(tokens.Select(token => (token.Content, token)));
        matcher.Split(text, (token, start, end) => result += token is null ? text[start..end] : $"[{text[start..end]}]");
        return result;
    }
}
