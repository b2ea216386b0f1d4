// The official OpenAI client and Microsoft.Extensions.AI's, unmodified, against the server: over the fake engine always,
// over the real one with the demo model where the native library is built.
using System.ClientModel;
using Microsoft.Extensions.AI;
using OpenAI;
using OpenAI.Chat;
using ChatMessage = Microsoft.Extensions.AI.ChatMessage;

namespace SLoRA.Integration.Tests;

public class OfficialClientTests
{
    private const string Question = "Of which country is Freetown the capital?";
    private const string Answer = "Freetown is the capital of Sierra Leone.";

    private static OpenAIClient Connect(TestHost host) =>
        new(new ApiKeyCredential("none"), new OpenAIClientOptions { Endpoint = new Uri(host.Address, "/v1") });

    private static async Task<TestHost> StartAsync(bool real)
    {
        var host = await TestHost.StartAsync(real);
        if (!real)
        {
            await host.LoadAdapterAsync("chat");
            var answer = Engine.Tests.Fakes.TestEngine.Tokenizer.Encode(Answer, addSpecialTokens: false);
            host.Native!.NextToken = sequence => sequence.NumSampled < answer.Count && sequence.Adapters.Length > 0
                ? answer[sequence.NumSampled]
                : sequence.Adapters.Length > 0 ? 4089 : Engine.Tests.Fakes.FakeNativeEngine.OrdinaryToken(sequence);
        }

        return host;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_OpenAI_client_chats(bool real)
    {
        await using var host = await StartAsync(real);
        var chat = Connect(host).GetChatClient("chat");
        ChatCompletion completion = await chat.CompleteChatAsync([new UserChatMessage(Question)], new ChatCompletionOptions { Temperature = 0, MaxOutputTokenCount = 40 });
        Assert.Equal(Answer, completion.Content[0].Text);
        Assert.Equal(OpenAI.Chat.ChatFinishReason.Stop, completion.FinishReason);
        Assert.Equal(ChatMessageRole.Assistant, completion.Role);
        Assert.Equal("chat", completion.Model);
        Assert.True(completion.Usage.InputTokenCount > 10);
        Assert.Equal(completion.Usage.InputTokenCount + completion.Usage.OutputTokenCount, completion.Usage.TotalTokenCount);
        await host.AssertServingAndFreeAsync();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_OpenAI_client_streams_with_log_probabilities(bool real)
    {
        await using var host = await StartAsync(real);
        var chat = Connect(host).GetChatClient("chat");
        var text = string.Empty;
        var logprobs = new List<ChatTokenLogProbabilityDetails>();
        ChatTokenUsage? usage = null;
        OpenAI.Chat.ChatFinishReason? finish = null;
        var options = new ChatCompletionOptions { Temperature = 0, IncludeLogProbabilities = true, TopLogProbabilityCount = 2 };
        await foreach (var update in chat.CompleteChatStreamingAsync([new UserChatMessage(Question)], options))
        {
            text += string.Concat(update.ContentUpdate.Select(part => part.Text));
            logprobs.AddRange(update.ContentTokenLogProbabilities);
            usage = update.Usage ?? usage;
            finish = update.FinishReason ?? finish;
        }

        Assert.Equal(Answer, text);
        Assert.Equal(OpenAI.Chat.ChatFinishReason.Stop, finish);
        Assert.Equal(usage!.OutputTokenCount, logprobs.Count);
        Assert.All(logprobs, entry => Assert.Equal(2, entry.TopLogProbabilities.Count));
        Assert.Equal(Answer, string.Concat(logprobs.SkipLast(1).Select(entry => entry.Token)));
        await host.AssertServingAndFreeAsync();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_OpenAI_client_lists_the_base_model_and_its_adapters(bool real)
    {
        await using var host = await StartAsync(real);
        var models = Connect(host).GetOpenAIModelClient();
        var names = (await models.GetModelsAsync()).Value.Select(model => model.Id).ToArray();
        Assert.Equal("base", names[0]);
        Assert.Contains("chat", names);
        Assert.Equal(real ? 19 : 2, names.Length);
        Assert.Equal("chat", (await models.GetModelAsync("chat")).Value.Id);
        var error = await Assert.ThrowsAsync<ClientResultException>(() => models.GetModelAsync("nobody"));
        Assert.Equal(404, error.Status);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_chat_client_of_Microsoft_Extensions_AI_answers_and_streams(bool real)
    {
        await using var host = await StartAsync(real);
        using var client = Connect(host).GetChatClient("chat").AsIChatClient();
        var options = new ChatOptions { Temperature = 0, MaxOutputTokens = 40, StopSequences = ["Sierra"] };
        var whole = await client.GetResponseAsync([new ChatMessage(ChatRole.User, Question)], options);
        Assert.Equal("Freetown is the capital of ", whole.Text);
        Assert.Equal(Microsoft.Extensions.AI.ChatFinishReason.Stop, whole.FinishReason);
        var updates = await client.GetStreamingResponseAsync([new ChatMessage(ChatRole.User, Question)], new ChatOptions { Temperature = 0 }).ToListAsync();
        Assert.Equal(Answer, string.Concat(updates.Select(update => update.Text)));
        Assert.True(updates.ToChatResponse().Usage!.OutputTokenCount > 5);
        await host.AssertServingAndFreeAsync();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Errors_reach_the_client_with_status_and_message(bool real)
    {
        await using var host = await StartAsync(real);
        var error = await Assert.ThrowsAsync<ClientResultException>(() => Connect(host).GetChatClient("nobody").CompleteChatAsync([new UserChatMessage("x")]));
        Assert.Equal(404, error.Status);
        Assert.Contains("the model 'nobody' does not exist", error.Message, StringComparison.Ordinal);
        var tools = new ChatCompletionOptions { Tools = { ChatTool.CreateFunctionTool("f") } };
        error = await Assert.ThrowsAsync<ClientResultException>(() => Connect(host).GetChatClient("chat").CompleteChatAsync([new UserChatMessage("x")], tools));
        Assert.Equal(400, error.Status);
        Assert.Contains("'tools' is not supported", error.Message, StringComparison.Ordinal);
    }
}
