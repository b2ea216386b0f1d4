// The verdict on adapters that ship tokenizer files.

using SLoRA.Tokenizers.Templates;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class AdapterTokenizerCheckTests
{
    private static readonly HfTokenizer Base = HfTokenizer.LoadFromFolder(Assets.DemoBase);
    private static readonly string BaseFile = Path.Combine(Assets.DemoBase, "tokenizer.json");

    [Fact]
    public void An_adapter_without_tokenizer_files_uses_the_base()
    {
        AdapterTokenizerReport report = AdapterTokenizerCheck.Inspect(Base, Assets.Demo("adapters/kjv"));

        Assert.Equal(new AdapterTokenizerReport(AdapterTokenizerVerdict.None, null, null), report);
    }

    [Fact]
    public void An_adapter_with_the_same_ids_is_fine_and_brings_its_template()
    {
        AdapterTokenizerReport report = AdapterTokenizerCheck.Inspect(Base, Assets.DemoChatAdapter);

        Assert.Equal(AdapterTokenizerVerdict.Same, report.Verdict);
        Assert.Null(report.Reason);
        Assert.Contains(
            "You know the capitals of the world.",
            report.ChatTemplate!.Render([new TemplateMessage("user", "Hi")]),
            StringComparison.Ordinal);
    }

    [Fact]
    public void Another_vocabulary_is_refused_and_the_first_token_named()
    {
        AdapterTokenizerReport report = AdapterTokenizerCheck.Inspect(Base, Assets.Tiny("qwen2"));

        Assert.Equal(AdapterTokenizerVerdict.Different, report.Verdict);
        Assert.Matches("^token \\d+ is \".+\" in the base's tokenizer and \".+\" in the adapter's$", report.Reason);
    }

    [Fact]
    public void An_added_token_is_refused()
    {
        using TemporaryFolder folder = new TemporaryFolder().WithCopy(BaseFile, text => text.Replace(
            "\"added_tokens\": [",
            "\"added_tokens\": [{\"id\": 4096, \"content\": \"<tool>\", \"special\": true},",
            StringComparison.Ordinal));

        AdapterTokenizerReport report = AdapterTokenizerCheck.Inspect(Base, folder.Path);

        Assert.Equal("token 4096 is missing in the base's tokenizer and \"<tool>\" in the adapter's", report.Reason);
    }

    [Fact]
    public void Another_order_of_merges_is_refused()
    {
        using TemporaryFolder folder = new TemporaryFolder().WithCopy(BaseFile, SwapFirstMerges);

        AdapterTokenizerReport report = AdapterTokenizerCheck.Inspect(Base, folder.Path);

        Assert.Equal(AdapterTokenizerVerdict.Different, report.Verdict);
        Assert.StartsWith("the merge of \"Ġ\" and ", report.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void Another_pre_tokenizer_is_refused()
    {
        using TemporaryFolder folder = new TemporaryFolder().WithCopy(
            BaseFile, text => text.Replace("\"add_prefix_space\": false", "\"add_prefix_space\": true", StringComparison.Ordinal));

        AdapterTokenizerReport report = AdapterTokenizerCheck.Inspect(Base, folder.Path);

        Assert.Equal(AdapterTokenizerVerdict.Different, report.Verdict);
        Assert.Contains("is encoded differently", report.Reason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"added_tokens_decoder": {"4089": {"content": "<|eot_id|>"}}}""", AdapterTokenizerVerdict.Same)]
    [InlineData("""{"added_tokens_decoder": {"4089": {"content": "<|im_end|>"}}}""", AdapterTokenizerVerdict.Different)]
    [InlineData("""{"pad_token": "x"}""", AdapterTokenizerVerdict.None)]
    public void Added_tokens_are_compared_without_tokenizer_json(string config, AdapterTokenizerVerdict verdict)
    {
        using TemporaryFolder folder = new TemporaryFolder().With("tokenizer_config.json", config);

        Assert.Equal(verdict, AdapterTokenizerCheck.Inspect(Base, folder.Path).Verdict);
    }

    [Fact]
    public void A_tokenizer_model_alone_is_refused()
    {
        using TemporaryFolder folder = new TemporaryFolder().With("tokenizer.model", "x");

        Assert.Equal(AdapterTokenizerVerdict.Different, AdapterTokenizerCheck.Inspect(Base, folder.Path).Verdict);
    }

    [Fact]
    public void A_template_alone_gets_the_special_tokens_of_the_base()
    {
        using TemporaryFolder folder = new TemporaryFolder().With("chat_template.jinja", "{{ bos_token }}{{ messages[0].content }}");

        AdapterTokenizerReport report = AdapterTokenizerCheck.Inspect(Base, folder.Path);

        Assert.Equal("<|begin_of_text|>x", report.ChatTemplate!.Render([new TemplateMessage("user", "x")]));
    }

    private static string SwapFirstMerges(string text)
    {
        int merges = text.IndexOf("\"merges\"", StringComparison.Ordinal);
        int first = text.IndexOf('[', text.IndexOf('[', merges) + 1);
        int firstEnd = text.IndexOf(']', first) + 1;
        int second = text.IndexOf('[', firstEnd);
        int secondEnd = text.IndexOf(']', second) + 1;
        return text[..first] + text[second..secondEnd] + text[firstEnd..second] + text[first..firstEnd] + text[secondEnd..];
    }
}
