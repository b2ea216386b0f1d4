// Whole conversations against transformers: the demo model's two templates and those of the tiny checkpoints.

using System.Text.Json;
using SLoRA.Tokenizers.Templates;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class ChatTemplateGoldenTests
{
    [Fact]
    public void Demo_conversations_are_rendered_and_encoded_as_by_the_reference()
    {
        HfTokenizer tokenizer = HfTokenizer.LoadFromFolder(Assets.DemoBase);
        JsonElement[] cases = [.. Assets.ReadJson(Assets.Demo("goldens/chat_template.json")).EnumerateArray()];
        Assert.Equal(24, cases.Length);
        foreach (JsonElement item in cases)
        {
            ChatTemplate template = ChatTemplate.LoadFromFolder(Assets.Demo(item.GetProperty("template_of").GetString()!))!;
            string rendered = Render(template, item);

            Assert.Equal(item.GetProperty("rendered").GetString(), rendered);
            Assert.Equal(item.GetProperty("ids").Ints(), tokenizer.Encode(rendered, addSpecialTokens: false));
        }
    }

    [Fact]
    public void Chat_tasks_of_the_demo_adapter_have_the_same_prompt_ids()
    {
        HfTokenizer tokenizer = HfTokenizer.LoadFromFolder(Assets.DemoChatAdapter);
        ChatTemplate template = ChatTemplate.LoadFromFolder(Assets.DemoChatAdapter)!;
        foreach (string line in File.ReadLines(Assets.Demo("goldens/chat.tasks.jsonl")))
        {
            using JsonDocument document = JsonDocument.Parse(line);
            string prompt = template.Render(Messages(document.RootElement));
            Assert.Equal(
                document.RootElement.GetProperty("prompt_ids").Ints(), tokenizer.Encode(prompt, addSpecialTokens: false));
        }
    }

    [Theory]
    [InlineData("llama-mha")]
    [InlineData("llama-f32")]
    [InlineData("qwen2")]
    [InlineData("qwen2-yarn")]
    [InlineData("qwen3")]
    [InlineData("gemma2")]
    [InlineData("phi3")]
    public void Tiny_conversations_are_rendered_as_by_the_reference(string model)
    {
        ChatTemplate template = ChatTemplate.LoadFromFolder(Assets.Tiny(model))!;
        foreach (JsonElement item in Assets.ReadJson(Path.Combine(Assets.Tiny(model), "golden_chat.json")).EnumerateArray())
        {
            Assert.Equal(item.GetProperty("rendered").GetString(), Render(template, item));
        }
    }

    [Theory]
    [InlineData("llama3-gqa")]
    [InlineData("mistral-swa")]
    public void A_folder_without_a_template_gives_none(string model) =>
        Assert.Null(ChatTemplate.LoadFromFolder(Assets.Tiny(model)));

    private static string Render(ChatTemplate template, JsonElement item) => template.Render(
        Messages(item),
        new ChatTemplateOptions { AddGenerationPrompt = item.GetProperty("add_generation_prompt").GetBoolean() });

    private static TemplateMessage[] Messages(JsonElement item) =>
    [
        .. item.GetProperty("messages").EnumerateArray().Select(message => new TemplateMessage(
            message.GetProperty("role").GetString()!, message.GetProperty("content").GetString()!)),
    ];
}
