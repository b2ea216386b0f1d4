// One request through the whole engine: text, stops, choices, log-probabilities, validation.
using SLoRA.Engine.Tests.Fakes;

namespace SLoRA.Engine.Tests;

public class GenerationTests
{
    private static GenerationRequest Request(Prompt prompt, int max = 8) => new() { Prompt = prompt, MaxOutputTokens = max };

    // Plays a text, then the model's end token.
    private static Func<FakeSequence, int> Say(string text)
    {
        var tokens = TestEngine.Tokenizer.Encode(text, addSpecialTokens: false);
        return sequence => sequence.NumSampled < tokens.Count ? tokens[sequence.NumSampled] : TestEngine.Tokenizer.EosIds[0];
    }

    private static string Text(IEnumerable<GenerationChunk> chunks) => string.Concat(chunks.Select(chunk => chunk.Text));

    [Fact]
    public async Task The_output_is_the_model_s_text_and_ends_with_its_end_token()
    {
        await using var test = TestEngine.Start(nextToken: Say("Grüße, 你好 👋 world"));
        var chunks = await test.GenerateAsync(Request("Hello", 100));
        Assert.Equal("Grüße, 你好 👋 world", Text(chunks));
        Assert.Equal(FinishReason.Stop, chunks[^1].Finish);
        Assert.All(chunks, chunk => Assert.DoesNotContain('\uFFFD', chunk.Text));
        Assert.Equal(chunks.Count, chunks[^1].Usage!.Value.CompletionTokens);
        Assert.Equal(TestEngine.Tokenizer.Encode("Hello", true), chunks[0].PromptTokenIds);
        await test.AssertAllFreeAsync();
    }

    [Fact]
    public async Task Max_tokens_ends_the_output()
    {
        await using var test = TestEngine.Start();
        var chunks = await test.GenerateAsync(Request("Hello", 5));
        Assert.Equal(5, chunks.Sum(chunk => chunk.TokenIds.Count));
        Assert.Equal(FinishReason.Length, chunks[^1].Finish);
        Assert.Equal(new TokenUsage(TestEngine.Tokenizer.Encode("Hello", true).Count, 5), chunks[^1].Usage);
    }

    [Fact]
    public async Task Without_max_tokens_the_context_is_filled()
    {
        await using var test = TestEngine.Start();
        var chunks = await test.GenerateAsync(new GenerationRequest { Prompt = Prompt.FromTokens([1, 2, 3]), MaxOutputTokens = null });
        Assert.Equal(512, chunks[^1].Usage!.Value.TotalTokens);
    }

    [Fact]
    public async Task A_stop_string_over_token_borders_is_never_shown()
    {
        await using var test = TestEngine.Start(nextToken: Say("one two three four five"));
        var chunks = await test.GenerateAsync(Request("x", 50) with { StopSequences = ["ee fo"] });
        Assert.Equal("one two thr", Text(chunks));
        Assert.Equal(FinishReason.Stop, chunks[^1].Finish);
        await test.AssertAllFreeAsync();
    }

    [Fact]
    public async Task A_stop_token_ends_the_output_and_ignore_eos_goes_past_the_end_token()
    {
        await using var test = TestEngine.Start(nextToken: sequence => sequence.NumSampled == 2 ? TestEngine.Tokenizer.EosIds[0] : 500 + sequence.NumSampled);
        Assert.Equal(3, (await test.GenerateAsync(Request("x"))).Count);
        Assert.Equal(8, (await test.GenerateAsync(Request("x") with { IgnoreEos = true })).Count);
        Assert.Equal(2, (await test.GenerateAsync(Request("x") with { StopTokenIds = [501] })).Count);
    }

    [Fact]
    public async Task Choices_sample_with_consecutive_seeds()
    {
        await using var test = TestEngine.Start();
        var sampling = new SamplingOptions { Temperature = 1, Seed = 7 };
        var three = await test.GenerateAsync(Request("Hello") with { NumChoices = 3, Sampling = sampling });
        for (var choice = 0; choice < 3; choice++)
        {
            var alone = await test.GenerateAsync(Request("Hello") with { Sampling = sampling with { Seed = 7UL + (ulong)choice } });
            Assert.Equal(alone.SelectMany(chunk => chunk.TokenIds), three.Where(chunk => chunk.ChoiceIndex == choice).SelectMany(chunk => chunk.TokenIds));
        }

        Assert.Single(three, chunk => chunk.Usage is not null);
        Assert.Equal(24, three[^1].Usage!.Value.CompletionTokens);
    }

    [Fact]
    public async Task Log_probabilities_come_with_each_token()
    {
        await using var test = TestEngine.Start();
        var chunks = await test.GenerateAsync(Request("Hello") with { Sampling = new SamplingOptions { NumLogprobs = 3 } });
        Assert.All(chunks, chunk =>
        {
            var entry = Assert.Single(chunk.Logprobs!);
            Assert.Equal(chunk.TokenIds[0], entry.Sampled.TokenId);
            Assert.Equal([chunk.TokenIds[0], chunk.TokenIds[0] + 1, chunk.TokenIds[0] + 2], entry.Top.Select(candidate => candidate.TokenId));
            Assert.Equal(-1.5f, entry.Top[1].Logprob);
            Assert.False(entry.Sampled.Bytes.IsEmpty);
        });
    }

    [Fact]
    public async Task Many_requests_share_the_batch_and_get_what_each_gets_alone()
    {
        var geometry = FakeNativeEngine.DefaultGeometry with { NumPages = 40, MaxBatchTokens = 48, MaxBatchRows = 8 };
        await using var test = TestEngine.Start(geometry);
        for (var i = 0; i < 6; i++)
        {
            await test.LoadAdapterAsync($"a{i}");
        }

        GenerationRequest Numbered(int i) => Request($"request {i} " + new string('x', i * 7), 20 + i) with { Adapters = i % 7 == 6 ? [] : [$"a{i % 7}"] };
        test.Native.StepTime = TimeSpan.FromMilliseconds(1);
        var together = await Task.WhenAll(Enumerable.Range(0, 40).Select(i => Task.Run(() => test.GenerateAsync(Numbered(i)))));
        test.Native.StepTime = TimeSpan.Zero;
        for (var i = 0; i < together.Length; i++)
        {
            var alone = await test.GenerateAsync(Numbered(i));
            Assert.Equal(alone.SelectMany(chunk => chunk.TokenIds), together[i].SelectMany(chunk => chunk.TokenIds));
        }

        Assert.InRange(test.Native.MaxRowsSeen, 3, 8);
        Assert.True(test.Native.MaxAdaptersSeen > 2);
        await test.AssertAllFreeAsync();
        await test.Engine.CheckAsync();
    }

    public static TheoryData<GenerationRequest, string> WrongRequests() => new()
    {
        { Request(Prompt.FromTokens([])), "the prompt has no tokens" },
        { Request(Prompt.FromTokens([4096])), "token id 4096 is outside the vocabulary [0, 4096)" },
        { Request(Prompt.FromTokens([-1])), "token id -1" },
        { Request(Prompt.FromTokens(new int[512])), "the prompt has 512 tokens; the context of 512 tokens leaves room for at most 511" },
        { Request(new string('a', 5000)), "the context of 512 tokens" },
        { Request(Prompt.FromTokens(new int[500]), 13), "max_tokens is 13" },
        { Request("x", 0), "max_tokens is 0; it must be at least 1" },
        { Request("x") with { NumChoices = 65 }, "n is 65; it must be in [1, 64]" },
        { Request("x") with { StopSequences = [""] }, "stop has an empty string" },
        { Request("x") with { StopTokenIds = [9999] }, "token id 9999" },
        { Request("x") with { Sampling = new() { Temperature = -1 } }, "temperature is -1; it must be at least 0" },
        { Request("x") with { Sampling = new() { Temperature = float.NaN } }, "temperature is NaN" },
        { Request("x") with { Sampling = new() { TopP = 0 } }, "top_p is 0; it must be in (0, 1]" },
        { Request("x") with { Sampling = new() { TopK = -2 } }, "top_k is -2" },
        { Request("x") with { Sampling = new() { MinP = 2 } }, "min_p is 2" },
        { Request("x") with { Sampling = new() { TypicalP = 0 } }, "typical_p is 0" },
        { Request("x") with { Sampling = new() { RepetitionPenalty = 0 } }, "repetition_penalty is 0" },
        { Request("x") with { Sampling = new() { PresencePenalty = 3 } }, "presence_penalty is 3" },
        { Request("x") with { Sampling = new() { FrequencyPenalty = -3 } }, "frequency_penalty is -3" },
        { Request("x") with { Sampling = new() { NumLogprobs = 21 } }, "logprobs is 21; it must be in [0, 20]" },
        { Request("x") with { Sampling = new() { LogitBias = new Dictionary<int, float> { [5000] = 1 } } }, "token id 5000" },
        { Request("x") with { Sampling = new() { LogitBias = new Dictionary<int, float> { [5] = 101 } } }, "logit_bias of token 5 is 101" },
        { Request(Prompt.FromChat([])), "messages is empty" },
    };

    [Theory]
    [MemberData(nameof(WrongRequests), DisableDiscoveryEnumeration = true)]
    public async Task A_wrong_request_is_refused_with_value_and_limit_before_it_is_queued(GenerationRequest request, string message)
    {
        await using var test = TestEngine.Start();
        var error = await Assert.ThrowsAsync<RequestInvalidException>(() => test.GenerateAsync(request));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.Equal(0, test.Engine.GetStatistics().Steps);
    }

    [Fact]
    public async Task A_request_larger_than_the_pool_is_refused()
    {
        await using var test = TestEngine.Start(FakeNativeEngine.DefaultGeometry with { NumPages = 4 });
        var error = await Assert.ThrowsAsync<RequestInvalidException>(() => test.GenerateAsync(Request("x", 100)));
        Assert.Contains("the pool of 4 pages holds 64", error.Message, StringComparison.Ordinal);
        var rest = await test.GenerateAsync(new GenerationRequest { Prompt = "x", MaxOutputTokens = null });
        Assert.Equal(64, rest[^1].Usage!.Value.TotalTokens);
    }
}
