// A template is untrusted: each bound is reached by a template written to exceed it, and nothing else happens.

using SLoRA.Tokenizers.Templates;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class TemplateLimitTests
{
    [Fact]
    public void A_long_source_is_refused() =>
        AssertRefused(new string('x', TemplateLimits.Default.MaxSourceChars + 1), "longer than");

    [Theory]
    [InlineData("(", ")")]
    [InlineData("[", "]")]
    [InlineData("not ", "")]
    [InlineData("-", "")]
    [InlineData("{1:", "}")]
    [InlineData("1 if 1 else ", "")]
    [InlineData("x[", "]")]
    [InlineData("x(", ")")]
    public void Nested_expressions_are_refused(string open, string close) =>
        AssertRefused("{{ " + Repeat(open, 20_000) + "1" + Repeat(close, 20_000) + " }}", "nested deeper");

    [Theory]
    [InlineData("{% if 1 %}", "{% endif %}")]
    [InlineData("{% for x in y %}", "{% endfor %}")]
    [InlineData("{% macro m() %}", "{% endmacro %}")]
    [InlineData("{% filter trim %}", "{% endfilter %}")]
    public void Nested_blocks_are_refused(string open, string close) =>
        AssertRefused(Repeat(open, 10_000) + Repeat(close, 10_000), "nested deeper");

    // A chain is parsed by a loop, but its tree is as deep as it is long.
    [Theory]
    [InlineData("1", "+1")]
    [InlineData("''", "|trim")]
    [InlineData("1", " and 1")]
    [InlineData("'a'", ".upper()")]
    [InlineData("[]", "[0:]")]
    public void Long_chains_are_refused(string first, string link) =>
        AssertRefused("{{ " + first + Repeat(link, 40_000) + " }}", "recurses deeper");

    [Fact]
    public void Endless_recursion_is_refused() =>
        AssertRefused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recurses deeper");

    [Fact]
    public void Recursion_through_a_filter_block_is_refused() =>
        AssertRefused("{% macro f() %}{% filter trim %}{{ f() }}{% endfilter %}{% endmacro %}{{ f() }}", "recurses deeper");

    [Fact]
    public void Nested_loops_are_refused() => AssertRefused(
        Repeat("{% for x in range(1000) %}", 10) + "{% set y = 1 %}" + Repeat("{% endfor %}", 10), "steps");

    [Theory]
    [InlineData("{{ range(100000000000) }}")]
    [InlineData("{{ [1] * 1000000000000 }}")]
    [InlineData("{% set l = [1] %}{% for i in range(100) %}{% for x in l %}{{ l.append(x) }}{% endfor %}{% endfor %}")]
    [InlineData("{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}")]
    public void Huge_lists_are_refused(string source) => AssertRefused(source, "steps");

    [Theory]
    [InlineData("{{ 'abc' * 1000000000000 }}")]
    [InlineData("{% set ns = namespace(t='xx') %}{% for i in range(100) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}")]
    [InlineData("{% set ns = namespace(t='xx') %}{% for i in range(100) %}{% set ns.t = ns.t + ns.t %}{% endfor %}")]
    [InlineData("{% set ns = namespace(t='xx') %}{% for i in range(100) %}{% set ns.t = ns.t.replace('x', 'xxxxxxxx') %}{% endfor %}")]
    [InlineData("{% set ns = namespace(t='xx') %}{% for i in range(100) %}{% set ns.t = [ns.t, ns.t]|join %}{% endfor %}")]
    [InlineData("{% set ns = namespace(t='xx') %}{% for i in range(100) %}{% set ns.t = [ns.t, ns.t]|tojson %}{% endfor %}")]
    [InlineData("{% set ns = namespace(t='xx') %}{% for i in range(100) %}{% set ns.t = [ns.t, ns.t]|string %}{% endfor %}")]
    public void Huge_texts_are_refused(string source) => AssertRefused(source, "characters|steps");

    [Fact]
    public void Huge_output_is_refused() =>
        AssertRefused("{% set t = 'x' * 1000000 %}{% for i in range(1000) %}{{ t }}{% endfor %}", "characters");

    [Theory]
    [InlineData("{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}")]
    [InlineData("{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l|tojson }}")]
    [InlineData("{% set ns = namespace(l=[], m=[]) %}{% for i in range(1000) %}{% set ns.l = [ns.l] %}{% set ns.m = [ns.m] %}{% endfor %}{{ ns.l == ns.m }}")]
    [InlineData("{% set l = [] %}{{ l.append(l) }}{{ l }}")]
    [InlineData("{% set l = [] %}{{ l.append(l) }}{{ l|tojson }}")]
    public void Deep_values_are_refused(string source) => AssertRefused(source, "nested too deep");

    [Theory]
    [InlineData("{{ 9223372036854775807 + 1 }}")]
    [InlineData("{{ 2 ** 64 }}")]
    [InlineData("{{ (-9223372036854775807 - 1) // -1 }}")]
    [InlineData("{{ -(-9223372036854775807 - 1) }}")]
    [InlineData("{{ 99999999999999999999 }}")]
    [InlineData("{{ 1 / 0 }}")]
    [InlineData("{{ 1 % 0 }}")]
    [InlineData("{{ [1][::0] }}")]
    [InlineData("{{ 'a'.split('') }}")]
    [InlineData("{% break %}")]
    [InlineData("{% for x in [1] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}")]
    [InlineData("{{ 'abc }}")]
    [InlineData("{{ 1 ")]
    [InlineData("{# x")]
    [InlineData("{% raw %}x")]
    [InlineData("{{ ) }}")]
    [InlineData("{{ }}")]
    [InlineData("{{ a b }}")]
    [InlineData("{{ '\\x4' }}")]
    [InlineData("{{ f(*x) }}")]
    [InlineData("{% include 'x' %}")]
    [InlineData("{% for x in y recursive %}{% endfor %}")]
    [InlineData("{% set x.y = 1 %}")]
    [InlineData("{% set a, b = [1] %}")]
    [InlineData("{{ strftime_now('%Q') }}")]
    [InlineData("{{ {[]: 1} }}")]
    [InlineData("{{ [1, 'a']|sort }}")]
    public void Wrong_templates_fail_with_a_line(string source) => AssertRefused(source, "line 1");

    [Fact]
    public void Limits_can_be_lowered()
    {
        TemplateLimits limits = new() { MaxOutputChars = 10, MaxSteps = 100, MaxNesting = 3, MaxSourceChars = 100 };

        Assert.Equal("12345", ChatTemplate.Parse("12345", limits).Render([]));
        Assert.Throws<TemplateException>(() => ChatTemplate.Parse("12345678901", limits).Render([]));
        Assert.Throws<TemplateException>(() => ChatTemplate.Parse("{% for x in range(99) %}{% endfor %}", limits).Render([]));
        Assert.Throws<TemplateException>(() => ChatTemplate.Parse("{{ ((((1)))) }}", limits));
        Assert.Throws<TemplateException>(() => ChatTemplate.Parse(new string('x', 101), limits));
    }

    // No text here is long; only their sum is.
    [Fact]
    public void The_sum_of_all_texts_is_bounded()
    {
        const string source = "{% for i in range(50) %}{% set x = 'abcdefgh'|upper %}{% endfor %}";

        Assert.Equal("", ChatTemplate.Parse(source, new() { MaxTextWork = 10_000 }).Render([]));
        Assert.Throws<TemplateException>(() => ChatTemplate.Parse(source, new() { MaxTextWork = 500 }).Render([]));
    }

    [Fact]
    public void A_line_is_that_of_the_fault()
    {
        TemplateException error = Assert.Throws<TemplateException>(
            () => ChatTemplate.Parse("a\n{# b\n#}\n{% set x = 1 %}\n{{ x |\n bogus }}"));

        Assert.Equal(6, error.Line);
        Assert.Equal("chat template, line 6: the filter 'bogus' is not supported", error.Message);
    }

    // Random cuts and swaps of real templates must end in a text or a TemplateException, never in anything else.
    [Fact]
    public void Mangled_templates_never_fail_in_another_way()
    {
        string[] sources =
        [
            .. Assets.ReadData("templates.json").GetProperty("cases").EnumerateArray()
                .Select(item => item.GetProperty("template").GetString()!),
        ];
        TemplateLimits limits = new() { MaxSteps = 20_000, MaxOutputChars = 100_000, MaxTextWork = 1_000_000 };
        Random random = new(13);
        for (int run = 0; run < 6000; run++)
        {
            string source = Mangle(sources[random.Next(sources.Length)], sources[random.Next(sources.Length)], random);
            try
            {
                ChatTemplate.Parse(source, limits).Render([new TemplateMessage("user", "Hi")]);
            }
            catch (TemplateException)
            {
                // Expected for most.
            }
            catch (Exception e)
            {
                Assert.Fail($"{e.GetType().Name}: {e.Message} for {source}\n{e.StackTrace}");
            }
        }
    }

    private static string Mangle(string one, string two, Random random)
    {
        int from = random.Next(one.Length);
        int to = random.Next(from, one.Length);
        int other = random.Next(two.Length);
        return random.Next(3) switch
        {
            0 => one[..from] + one[to..],
            1 => one[..from] + two[other..Math.Min(two.Length, other + random.Next(1, 12))] + one[from..],
            _ => one[..from] + "(){}[]%#-+'\"|.,:~*/<>=!x1 "[random.Next(26)] + one[Math.Min(one.Length, from + 1)..],
        };
    }

    private static string Repeat(string text, int count) => string.Concat(Enumerable.Repeat(text, count));

    private static void AssertRefused(string source, string reason)
    {
        TemplateException error = Assert.Throws<TemplateException>(() => ChatTemplate.Parse(source).Render([]));
        Assert.Matches(reason, error.Message);
        Assert.DoesNotContain('\n', error.Message);
    }
}
