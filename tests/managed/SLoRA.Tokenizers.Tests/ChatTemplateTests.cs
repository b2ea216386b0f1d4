// What transformers gives to templates, and where templates come from.

using System.Text.Json;
using SLoRA.Tokenizers.Templates;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class ChatTemplateTests
{
    private static readonly TemplateMessage[] Hi = [new("user", "Hi")];

    [Fact]
    public void A_template_file_wins_over_the_config()
    {
        using TemporaryFolder folder = new TemporaryFolder()
            .With("tokenizer_config.json", """{"chat_template": "config", "bos_token": {"content": "<b>"}}""")
            .With("chat_template.jinja", "file {{ bos_token }}\n");

        Assert.Equal("file <b>", ChatTemplate.LoadFromFolder(folder.Path)!.Render(Hi));
    }

    [Theory]
    [InlineData("""{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}""", "d")]
    [InlineData("""{"chat_template": [{"name": "tool_use", "template": "t"}]}""", null)]
    [InlineData("""{"chat_template": null}""", null)]
    [InlineData("{}", null)]
    public void The_default_of_named_templates_is_taken(string config, string? expected)
    {
        using TemporaryFolder folder = new TemporaryFolder().With("tokenizer_config.json", config);

        Assert.Equal(expected, ChatTemplate.LoadFromFolder(folder.Path)?.Render(Hi));
    }

    [Fact]
    public void A_problem_that_quotes_several_lines_is_told_in_one()
    {
        TemplateException error = Assert.Throws<TemplateException>(() => ChatTemplate.Parse("{{ x 'a\nb' }}"));

        Assert.Contains("'a\\nb'", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Fact]
    public void A_template_of_another_type_is_refused_with_its_key()
    {
        using TemporaryFolder folder = new TemporaryFolder().With("tokenizer_config.json", """{"chat_template": 5}""");

        TokenizerException error = Assert.Throws<TokenizerException>(() => ChatTemplate.LoadFromFolder(folder.Path));

        Assert.Equal("chat_template", error.Key);
    }

    [Fact]
    public void Tools_and_documents_are_none_unless_given()
    {
        ChatTemplate template = ChatTemplate.Parse("{{ tools is none }}{{ documents is none }}{{ bos_token is defined }}");

        Assert.Equal("TrueTrueFalse", template.Render(Hi));
        Assert.Equal(
            "FalseTrueTrue",
            template.Render(Hi, new ChatTemplateOptions
            {
                BosToken = "<s>",
                Variables = new Dictionary<string, object?> { ["tools"] = new[] { "x" } },
            }));
    }

    [Fact]
    public void Variables_of_the_host_keep_their_types()
    {
        using JsonDocument json = JsonDocument.Parse("""{"a": [1, 2.0, null, true, "x"]}""");
        Dictionary<string, object?> variables = new()
        {
            ["i"] = 3,
            ["f"] = 1.5f,
            ["n"] = null,
            ["l"] = new object?[] { 1, "two" },
            ["d"] = new Dictionary<string, object?> { ["k"] = false },
            ["j"] = json.RootElement,
        };

        string text = ChatTemplate.Parse("{{ i + 1 }} {{ f }} {{ n }} {{ l }} {{ d.k }} {{ j|tojson }}")
            .Render(Hi, new ChatTemplateOptions { Variables = variables });

        Assert.Equal("""4 1.5 None [1, 'two'] False {"a": [1, 2.0, null, true, "x"]}""", text);
    }

    [Fact]
    public void A_variable_of_an_unknown_type_is_refused() => Assert.Throws<TemplateException>(() =>
        ChatTemplate.Parse("x").Render(Hi, new ChatTemplateOptions
        {
            Variables = new Dictionary<string, object?> { ["v"] = new object() },
        }));

    [Fact]
    public void Extra_fields_of_a_message_are_seen()
    {
        TemplateMessage message = new("tool", "42")
        {
            ExtraFields = new Dictionary<string, object?> { ["name"] = "add", ["tool_call_id"] = 7 },
        };

        Assert.Equal(
            "tool add 7 42",
            ChatTemplate.Parse("{% set m = messages[0] %}{{ m.role }} {{ m.name }} {{ m.tool_call_id }} {{ m.content }}")
                .Render([message]));
    }

    [Fact]
    public void Message_text_is_never_parsed_as_a_template() =>
        Assert.Equal("{{ 1 + 1 }}", ChatTemplate.Parse("{{ messages[0].content }}").Render([new("user", "{{ 1 + 1 }}")]));

    [Fact]
    public void A_refusal_of_the_template_is_told_from_a_fault()
    {
        ChatTemplate template = ChatTemplate.Parse("{{ raise_exception('roles must alternate') }}");

        TemplateException error = Assert.Throws<TemplateException>(() => template.Render(Hi));

        Assert.True(error.RaisedByTemplate);
        Assert.Equal("roles must alternate", error.Message);
    }

    [Fact]
    public void One_template_renders_on_many_threads()
    {
        ChatTemplate template = ChatTemplate.LoadFromFolder(Assets.DemoBase)!;
        string expected = template.Render(Hi);

        Parallel.For(0, 200, _ => Assert.Equal(expected, template.Render(Hi)));
    }

    [Fact]
    public void Lists_may_grow() =>
        Assert.Equal("[1, 2]", ChatTemplate.Parse("{% set l = [1] %}{% set _ = l.append(2) %}{{ l }}").Render(Hi));
}
