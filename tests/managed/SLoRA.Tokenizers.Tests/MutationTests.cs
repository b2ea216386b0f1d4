// Tokenizer files and chat templates changed at random: taken or refused, never anything else.

using System.Text;
using System.Text.Json;
using SLoRA.Fuzzing;
using SLoRA.Tokenizers.Templates;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

[Trait("Category", "Fuzz")]
public sealed class MutationTests
{
    private static readonly string[] Texts =
        ["", "Hello wörld's 123\n\n x", "🤷🏽‍♀️ e\u0301 <s> <|eot_id|>", "\0\u0001\t ▁▁a", new string('a', 300)];

    [Fact]
    public async Task Tokenizer_files_are_taken_or_refused()
    {
        string[] names = ["llama3-gqa", "qwen2", "llama-mha", "gemma2", "phi3"];
        Mutations mutations = new(
            "tokenizer",
            names.Select(name => File.ReadAllText(Path.Combine(Assets.Tiny(name), "tokenizer.json"))),
            ["\"type\"", "\"Sequence\"", "\"ByteLevel\"", "\"Metaspace\"", "\"Split\"", "\"NFC\"", "\"Prepend\"", "\"Replace\"", "\"Strip\"",
                "\"Fuse\"", "\"ByteFallback\"", "\"TemplateProcessing\"", "\"BPE\"", "\"Isolated\"", "\"Removed\"", "\"<0x0A>\"", "\"▁\"", "\"a b\""]);
        using TemporaryFolder folder = new();
        await mutations.RunAsync(Assets.Root, json =>
        {
            File.WriteAllBytes(folder.File("tokenizer.json"), Encoding.UTF8.GetBytes(json));
            ReadTokenizer(folder);
            return Task.CompletedTask;
        });
    }

    // As Latin-1 text: one character for each byte.
    [Fact]
    public async Task SentencePiece_files_are_taken_or_refused()
    {
        string[] names = ["llama-mha", "gemma2", "phi3"];
        byte[][] models =
        [
            SentencePieceTests.Minimal().ToBytes(),
            .. names.Select(name => SentencePieceWriter.FromTokenizerJson(Path.Combine(Assets.Tiny(name), "tokenizer.json")).ToBytes()),
        ];
        Mutations mutations = new(
            "spm",
            models.Select(Encoding.Latin1.GetString),
            ["\n", "\x12", "\x1A", "\x0A\x01a", "\x18\x04", "\x15\0\0\xC0\x7F", "\xE2\x96\x81", "\xFF\xFF\xFF\xFF\x0F", "<0x0A>", "\x18\x02\xC0\x02\x05"]);
        using TemporaryFolder folder = new();
        await mutations.RunAsync(Assets.Root, text =>
        {
            File.WriteAllBytes(folder.File("tokenizer.model"), Encoding.Latin1.GetBytes(text));
            ReadTokenizer(folder);
            return Task.CompletedTask;
        });
    }

    [Fact]
    public async Task Chat_templates_are_taken_or_refused()
    {
        JsonElement golden = Assets.ReadData("templates.json");
        Mutations mutations = new(
            "template",
            golden.GetProperty("cases").EnumerateArray().Select(item => item.GetProperty("template").GetString()!)
                .Append(File.ReadAllText(Path.Combine(Assets.DemoChatAdapter, "chat_template.jinja"))),
            ["{{", "}}", "{%", "%}", "{%-", "-%}", "for m in messages", "endfor", "if", "endif", "set x =", "macro f(a)", "endmacro", "loop.index", "messages",
                "range(9999999)", "* 99999999", "+", "~", "|join", "|tojson", "|length", "[::-1]", "[-1]", ".split(", "is defined", "not in", "namespace(a=1)", "'", "\""]);
        ChatTemplateOptions options = new() { BosToken = "<s>", EosToken = "</s>" };
        TemplateMessage[] messages = [new("system", "Be brief."), new("user", " Hi "), new("assistant", "Hello\n")];
        await mutations.RunAsync(Assets.Root, source =>
        {
            try
            {
                string text = ChatTemplate.Parse(source).Render(messages, options);
                Assert.True(text.Length <= TemplateLimits.Default.MaxOutputChars);
            }
            catch (TemplateException error)
            {
                Assert.True(error.RaisedByTemplate || !error.Message.Contains('\n', StringComparison.Ordinal), error.Message);
            }

            return Task.CompletedTask;
        });
    }

    private static void ReadTokenizer(TemporaryFolder folder)
    {
        HfTokenizer tokenizer;
        try
        {
            tokenizer = HfTokenizer.LoadFromFolder(folder.Path);
        }
        catch (TokenizerException error)
        {
            Assert.DoesNotContain('\n', error.Message);
            return;
        }

        foreach (string text in Texts)
        {
            IReadOnlyList<int> ids = tokenizer.Encode(text, addSpecialTokens: true);
            Assert.All(ids, id => Assert.InRange(id, 0, tokenizer.VocabularySize - 1));
            string decoded = tokenizer.Decode([.. ids], skipSpecialTokens: false);
            StreamingDecoder stream = tokenizer.CreateStreamingDecoder(skipSpecialTokens: false);
            Assert.Equal(decoded, string.Concat(ids.Select(stream.Push)) + stream.Finish());
        }
    }
}
