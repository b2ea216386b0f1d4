// The template language against Jinja2 3.1.6 with the settings of transformers (Data/templates.json: 104 snippets and
// templates with the text, the raised message or the kind of error that Jinja2 gives).

using System.Text.Json;
using SLoRA.Tokenizers.Templates;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class TemplateGoldenTests
{
    private static readonly JsonElement Golden = Assets.ReadData("templates.json");
    private static readonly TimeProvider Clock = new FixedTime(new DateTimeOffset(2026, 7, 4, 9, 5, 3, TimeSpan.Zero));

    public static TheoryData<string> Names =>
        new(Golden.GetProperty("cases").EnumerateArray().Select(item => item.GetProperty("name").GetString()!));

    [Theory]
    [MemberData(nameof(Names))]
    public void Rendered_text_is_that_of_Jinja2(string name)
    {
        JsonElement item = Golden.GetProperty("cases").EnumerateArray()
            .Single(item => item.GetProperty("name").GetString() == name);
        string source = item.GetProperty("template").GetString()!;
        ChatTemplateOptions options = new() { Variables = Variables(item), TimeProvider = Clock };

        if (item.TryGetProperty("rendered", out JsonElement rendered))
        {
            Assert.Equal(rendered.GetString(), ChatTemplate.Parse(source).Render([], options));
            return;
        }

        TemplateException error = Assert.Throws<TemplateException>(() => ChatTemplate.Parse(source).Render([], options));
        Assert.Equal(item.TryGetProperty("raised", out JsonElement raised), error.RaisedByTemplate);
        if (error.RaisedByTemplate)
        {
            Assert.Equal(raised.GetString(), error.Message);
        }
        else
        {
            Assert.Contains("line ", error.Message, StringComparison.Ordinal);
        }
    }

    private static Dictionary<string, object?> Variables(JsonElement item) =>
        new[] { Golden.GetProperty("defaults"), item.GetProperty("variables") }
            .SelectMany(source => source.EnumerateObject())
            .GroupBy(property => property.Name)
            .ToDictionary(group => group.Key, group => (object?)group.Last().Value);
}
