// What the server answers when the request is right.
using System.Text;
using System.Text.Json;
using SLoRA.Engine.Tests.Fakes;

namespace SLoRA.Integration.Tests;

public class ServerTests
{
    private const string Completions = "/v1/completions";
    private const string Chat = "/v1/chat/completions";

    private static async Task<List<string>> StreamAsync(TestHost host, string path, string json)
    {
        using var response = await host.Client.PostAsync(new Uri(path, UriKind.Relative), new StringContent(json, Encoding.UTF8, "application/json"));
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.MediaType);
        return [.. (await response.Content.ReadAsStringAsync()).Split("\n\n", StringSplitOptions.RemoveEmptyEntries)];
    }

    private static JsonElement Data(string line) => JsonDocument.Parse(line["data: ".Length..]).RootElement;

    [Fact]
    public async Task Completions_answer_each_form_of_prompt()
    {
        await using var host = await TestHost.StartFakeAsync();
        foreach (var (prompt, choices) in new[] { ("\"Hello\"", 1), ("[\"Hello\",\"you\"]", 2), ("[1,2,3]", 1), ("[[1,2],[3,4,5]]", 2) })
        {
            var (status, body) = await host.PostAsync(Completions, $$"""{"prompt":{{prompt}},"max_tokens":4,"n":2,"seed":5,"user":"u"}""");
            Assert.Equal(200, status);
            Assert.Equal("text_completion", body.GetProperty("object").GetString());
            Assert.Equal(Enumerable.Range(0, choices * 2), body.GetProperty("choices").EnumerateArray().Select(choice => choice.GetProperty("index").GetInt32()));
            Assert.All(body.GetProperty("choices").EnumerateArray(), choice => Assert.Equal("length", choice.GetProperty("finish_reason").GetString()));
            Assert.Equal(choices * 8, body.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        }
    }

    [Fact]
    public async Task Token_ids_come_back_as_in_vllm()
    {
        await using var host = await TestHost.StartFakeAsync();
        var (_, body) = await host.PostAsync(Completions, """{"prompt":[7,8,9],"max_tokens":4,"return_token_ids":true}""");
        var choice = body.GetProperty("choices")[0];
        Assert.Equal([7, 8, 9], choice.GetProperty("prompt_token_ids").EnumerateArray().Select(id => id.GetInt32()));
        Assert.Equal(4, choice.GetProperty("token_ids").GetArrayLength());
        (_, body) = await host.PostAsync(Chat, """{"messages":[{"role":"user","content":"Hi"}],"max_tokens":4,"return_token_ids":true}""");
        Assert.True(body.GetProperty("prompt_token_ids").GetArrayLength() > 5);
        Assert.Equal(4, body.GetProperty("choices")[0].GetProperty("token_ids").GetArrayLength());
        (_, body) = await host.PostAsync(Completions, """{"prompt":[7,8,9],"max_tokens":4}""");
        Assert.False(body.GetProperty("choices")[0].TryGetProperty("token_ids", out _));
    }

    [Fact]
    public async Task Completion_log_probabilities_have_the_older_shape()
    {
        await using var host = await TestHost.StartFakeAsync();
        var (_, body) = await host.PostAsync(Completions, """{"prompt":"x","max_tokens":3,"logprobs":2}""");
        var logprobs = body.GetProperty("choices")[0].GetProperty("logprobs");
        Assert.Equal(3, logprobs.GetProperty("tokens").GetArrayLength());
        Assert.All(logprobs.GetProperty("token_logprobs").EnumerateArray(), value => Assert.Equal(-0.5, value.GetDouble()));
        Assert.All(logprobs.GetProperty("top_logprobs").EnumerateArray(), top => Assert.Equal(2, top.EnumerateObject().Count()));
        Assert.Equal(0, logprobs.GetProperty("text_offset")[0].GetInt32());
    }

    [Fact]
    public async Task A_stream_ends_with_usage_and_done()
    {
        await using var host = await TestHost.StartFakeAsync();
        var lines = await StreamAsync(host, Chat, """{"messages":[{"role":"user","content":"Hi"}],"max_tokens":5,"stream":true,"stream_options":{"include_usage":true}}""");
        Assert.Equal("data: [DONE]", lines[^1]);
        Assert.Equal("assistant", Data(lines[0]).GetProperty("choices")[0].GetProperty("delta").GetProperty("role").GetString());
        Assert.Equal("length", Data(lines[^3]).GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        Assert.Equal(0, Data(lines[^2]).GetProperty("choices").GetArrayLength());
        Assert.Equal(5, Data(lines[^2]).GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        Assert.All(lines.SkipLast(1), line => Assert.Equal("chat.completion.chunk", Data(line).GetProperty("object").GetString()));
    }

    [Fact]
    public async Task Streamed_text_is_the_text()
    {
        await using var host = await TestHost.StartFakeAsync();
        var whole = (await host.PostAsync(Completions, """{"prompt":["a","b"],"max_tokens":40,"temperature":0}""")).Body;
        var lines = await StreamAsync(host, Completions, """{"prompt":["a","b"],"max_tokens":40,"temperature":0,"stream":true}""");
        for (var index = 0; index < 2; index++)
        {
            var text = lines.SkipLast(1).SelectMany(line => Data(line).GetProperty("choices").EnumerateArray())
                .Where(choice => choice.GetProperty("index").GetInt32() == index).Select(choice => choice.GetProperty("text").GetString());
            Assert.Equal(whole.GetProperty("choices")[index].GetProperty("text").GetString(), string.Concat(text));
        }
    }

    [Fact]
    public async Task A_waiting_stream_is_kept_open_by_comments()
    {
        await using var host = await TestHost.StartFakeAsync(server: new SLoRAServerOptions { Heartbeat = TimeSpan.FromMilliseconds(50) });
        host.Native!.StepGate.Reset();
        var stream = StreamAsync(host, Completions, """{"prompt":"x","max_tokens":2,"stream":true}""");
        await Task.Delay(300);
        host.Native.StepGate.Set();
        Assert.Contains(": waiting", await stream);
    }

    [Fact]
    public async Task Adapters_are_loaded_replaced_listed_used_and_unloaded()
    {
        await using var host = await TestHost.StartFakeAsync();
        var load = JsonSerializer.Serialize(new { lora_name = "sql", lora_path = host.MakeAdapterFolder("sql") });
        Assert.Equal((200, "Success: LoRA adapter 'sql' added successfully."), await TextAsync("/v1/load_lora_adapter", load));
        var (status, taken) = await host.PostAsync("/v1/load_lora_adapter", load);
        Assert.Equal(400, status);
        Assert.Contains("'sql' is loaded already", taken.GetProperty("error").GetProperty("message").GetString(), StringComparison.Ordinal);
        var before = await TokensAsync("sql");
        Assert.NotEqual(before, await TokensAsync("base"));
        Assert.Equal(200, (await host.PostAsync("/v1/load_lora_adapter", load.Replace("{", "{\"load_inplace\":true,", StringComparison.Ordinal))).Status);
        Assert.NotEqual(before, await TokensAsync("sql"));
        var model = (await host.GetAsync("/v1/models")).GetProperty("data")[1];
        Assert.Equal(("sql", "base"), (model.GetProperty("id").GetString(), model.GetProperty("parent").GetString()));
        Assert.EndsWith("sql", model.GetProperty("root").GetString(), StringComparison.Ordinal);
        Assert.Equal(200, (await host.PostAsync("/v1/unload_lora_adapter", """{"lora_name":"sql"}""")).Status);
        Assert.Single((await host.GetAsync("/v1/models")).GetProperty("data").EnumerateArray());
        await host.AssertServingAndFreeAsync();

        async Task<(int, string?)> TextAsync(string path, string json) => await host.PostAsync(path, json) is var (code, body) ? (code, body.GetString()) : default;

        async Task<string> TokensAsync(string name) =>
            (await host.PostAsync(Completions, $$"""{"model":"{{name}}","prompt":[1],"max_tokens":20,"temperature":0,"return_token_ids":true}""")).Body.GetProperty("choices")[0].GetProperty("token_ids").GetRawText();
    }

    [Fact]
    public async Task Health_tells_what_serves()
    {
        await using var host = await TestHost.StartFakeAsync();
        var health = await host.GetAsync("/health");
        Assert.Equal(("ok", "Ready"), (health.GetProperty("status").GetString(), health.GetProperty("state").GetString()));
        Assert.Equal(256, health.GetProperty("pages").GetProperty("free").GetInt32());
    }

    [Fact]
    public async Task Every_demo_adapter_answers_in_one_batch_as_the_goldens_say()
    {
        await using var host = await TestHost.StartAsync(real: true);
        await DemoGoldens.AssertAnsweredAsync(host);
        await host.AssertServingAndFreeAsync();
    }
}
