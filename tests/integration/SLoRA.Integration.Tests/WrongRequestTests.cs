// Requests that are wrong: each with its status and message, the server serving afterwards, every page accounted for.
using System.Net;
using System.Text;
using SLoRA.Engine.Tests.Fakes;

namespace SLoRA.Integration.Tests;

public class WrongRequestTests
{
    private const string Completions = "/v1/completions";
    private const string Chat = "/v1/chat/completions";

    public static TheoryData<string, string, int, string, string?> Matrix() => new()
    {
        { Completions, """{"model":"nobody","prompt":"x"}""", 404, "the model 'nobody' does not exist", "model" },
        { Completions, """{"model":7,"prompt":"x"}""", 400, "model is 7; it must be a string", "model" },
        { Completions, """{"prompt":"x","max_tokens":-1}""", 400, "max_tokens is -1; it must be at least 1", "max_tokens" },
        { Completions, """{"prompt":"x","max_tokens":0}""", 400, "max_tokens is 0", "max_tokens" },
        { Completions, """{"prompt":"x","max_tokens":1e99}""", 400, "max_tokens is 1e99; it must be a whole number", "max_tokens" },
        { Completions, """{"prompt":"x","max_tokens":600}""", 400, "exceed the context of 512 tokens", "max_tokens" },
        { Completions, """{"prompt":"x","n":0}""", 400, "n is 0; it must be in [1, 64]", "n" },
        { Completions, """{"prompt":"x","n":100000}""", 400, "n is 100000", "n" },
        { Completions, """{"prompt":"x","n":-1}""", 400, "n is -1; it must be in [1, 64]", "n" },
        { Completions, """{"prompt":["x","y"],"n":2147483647}""", 400, "n is 2147483647", "n" },
        { Completions, """{"prompt":"x","temperature":-0.5}""", 400, "temperature is -0.5; it must be at least 0", "temperature" },
        { Completions, """{"prompt":"x","temperature":"hot"}""", 400, "temperature is \"hot\"; it must be a finite number", "temperature" },
        { Completions, """{"prompt":"x","temperature":1e60}""", 400, "temperature is 1e60", "temperature" },
        { Completions, """{"prompt":"x","top_p":1.5}""", 400, "top_p is 1.5; it must be in (0, 1]", "top_p" },
        { Completions, """{"prompt":"x","top_k":-7}""", 400, "top_k is -7", "top_k" },
        { Completions, """{"prompt":"x","presence_penalty":-9}""", 400, "presence_penalty is -9", "presence_penalty" },
        { Completions, """{"prompt":"x","logprobs":99}""", 400, "logprobs is 99; it must be in [0, 20]", "logprobs" },
        { Completions, """{"prompt":"x","logit_bias":{"abc":1}}""", 400, "logit_bias has the key 'abc'", "logit_bias" },
        { Completions, """{"prompt":"x","logit_bias":{"4096":1}}""", 400, "token id 4096 is outside the vocabulary [0, 4096)", "logit_bias" },
        { Completions, """{"prompt":"x","seed":"a"}""", 400, "seed is \"a\"", "seed" },
        { Completions, """{"prompt":"x","stop":[""]}""", 400, "stop has an empty string", "stop" },
        { Completions, """{"prompt":"x","stop":5}""", 400, "stop is 5; it must be a string or an array", "stop" },
        { Completions, """{"prompt":"x","stream":"yes"}""", 400, "stream is \"yes\"; it must be true or false", "stream" },
        { Completions, """{"prompt":"x","stream_options":{"include_usage":true}}""", 400, "stream_options is set; it needs stream", "stream_options" },
        { Completions, """{"prompt":"x","stop_token_ids":[-4]}""", 400, "token id -4", "stop_token_ids" },
        { Completions, """{}""", 400, "prompt is missing", "prompt" },
        { Completions, """{"prompt":[]}""", 400, "prompt has 0 prompts", "prompt" },
        { Completions, """{"prompt":[1,"a"]}""", 400, "prompt is \"a\"", "prompt" },
        { Completions, """{"prompt":{"a":1}}""", 400, "prompt is an object", "prompt" },
        { Completions, """{"prompt":[4096]}""", 400, "token id 4096 is outside the vocabulary [0, 4096)", "prompt" },
        { Completions, """{"prompt":[-1]}""", 400, "token id -1", "prompt" },
        { Completions, """{"prompt":[99999999999]}""", 400, "prompt is 99999999999", "prompt" },
        { Completions, """{"prompt":["fine",[5000]]}""", 400, "token id 5000", "prompt" },
        { Completions, "{\"prompt\":\"" + new string('a', 9000) + "\"}", 400, "the context of 512 tokens leaves room for at most 511", "prompt" },
        { Completions, """{"prompt":"\ud800"}""", 400, "not valid Unicode", "prompt" },
        { Completions, """{"prompt":"x","echo":true}""", 400, "'echo' is not supported", "echo" },
        { Completions, """{"prompt":"x","suffix":"y"}""", 400, "'suffix' is not supported", "suffix" },
        { Completions, """{"prompt":"x","best_of":3}""", 400, "best_of is 3", "best_of" },
        { Completions, """{"prompt":"x","frobnicate":3}""", 400, "'frobnicate' is not supported", "frobnicate" },
        { Completions, "", 400, "the body is not valid JSON", null },
        { Completions, "{\"prompt\":", 400, "the body is not valid JSON", null },
        { Completions, "[1,2]", 400, "the body must be a JSON object", null },
        { Completions, "{\"prompt\":" + new string('[', 10_000) + new string(']', 10_000) + "}", 400, "the body is not valid JSON", null },
        { Chat, """{"model":"base"}""", 400, "messages is missing", "messages" },
        { Chat, """{"messages":[]}""", 400, "messages is empty", "messages" },
        { Chat, """{"messages":"hi"}""", 400, "messages is \"hi\"", "messages" },
        { Chat, """{"messages":[{"content":"x"}]}""", 400, "a message has no role", "messages" },
        { Chat, """{"messages":[{"role":"user"}]}""", 400, "a message has no content", "messages" },
        { Chat, """{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}""", 400, "a part of type 'image_url'", "messages" },
        { Chat, """{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function"}]}""", 400, "'tools' is not supported", "tools" },
        { Chat, """{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_object"}}""", 400, "'response_format' is not supported", "response_format" },
        { Chat, """{"messages":[{"role":"user","content":"x"}],"top_logprobs":2}""", 400, "top_logprobs is 2; it needs logprobs", "top_logprobs" },
        { Chat, """{"messages":[{"role":"user","content":"x"}],"stream":true,"max_tokens":-2}""", 400, "max_tokens is -2", "max_tokens" },
        { "/v1/nothing", "{}", 404, "there is no POST /v1/nothing", null },
        { "/v1/load_lora_adapter", """{"lora_path":"/tmp"}""", 400, "lora_name is missing", "lora_name" },
        { "/v1/load_lora_adapter", """{"lora_name":"../x","lora_path":"/tmp"}""", 400, "lora_name is '../x'", "lora_name" },
        { "/v1/load_lora_adapter", """{"lora_name":"x","lora_path":"/does/not/exist"}""", 404, "lora_path is '/does/not/exist', which is not a folder", "lora_path" },
        { "/v1/unload_lora_adapter", """{"lora_name":"nobody"}""", 404, "the adapter 'nobody' is not loaded", "lora_name" },
    };

    [Fact]
    public async Task Each_is_answered_with_status_and_message_and_leaves_nothing_behind()
    {
        await using var host = await TestHost.StartFakeAsync();
        foreach (var row in Matrix())
        {
            var (path, json, status, message, parameter) = row.Data;
            var (actual, body) = await host.PostAsync(path, json);
            var shown = json.Length > 80 ? json[..80] : json;
            Assert.True(actual == status, $"{path} {shown}: {actual} {body}");
            var error = body.GetProperty("error");
            Assert.True(error.GetProperty("message").GetString()!.Contains(message, StringComparison.Ordinal), $"{path} {shown}: {error}");
            Assert.Equal(parameter, error.GetProperty("param").GetString());
            Assert.Equal("invalid_request_error", error.GetProperty("type").GetString());
            Assert.True(error.TryGetProperty("code", out _));
        }

        Assert.Equal(0, host.Engine.GetStatistics().Steps);
        await host.AssertServingAndFreeAsync();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_very_large_body_is_too_large(bool chunked)
    {
        await using var host = await TestHost.StartFakeAsync();
        using var request = new HttpRequestMessage(HttpMethod.Post, Completions) { Content = new ByteArrayContent(new byte[17 << 20]) };
        request.Headers.TransferEncodingChunked = chunked;
        using var response = await host.Client.SendAsync(request);
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, response.StatusCode);
        Assert.Contains("the body is larger than 16777216 bytes", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        await host.AssertServingAndFreeAsync();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_client_that_leaves_in_mid_stream_frees_its_pages(bool real)
    {
        await using var host = await TestHost.StartAsync(real);
        if (host.Native is { } native)
        {
            native.StepTime = TimeSpan.FromMilliseconds(1);
        }

        for (var i = 0; i < 5; i++)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, Completions)
            {
                Content = new StringContent("""{"prompt":"Once upon a time","max_tokens":480,"stream":true,"n":3,"ignore_eos":true}""", Encoding.UTF8, "application/json"),
            };
            var response = await host.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            var stream = await response.Content.ReadAsStreamAsync();
            Assert.True(await stream.ReadAsync(new byte[64]) > 0);
            response.Dispose();
        }

        await host.AssertServingAndFreeAsync();
        Assert.True(host.Engine.GetStatistics().Tokens < 5 * 3 * 480);
    }

    [Fact]
    public async Task An_adapter_unloaded_during_flight_ends_its_requests_normally_and_takes_no_new_ones()
    {
        await using var host = await TestHost.StartFakeAsync();
        var folder = await host.LoadAdapterAsync("a");
        host.Native!.StepGate.Reset();
        var running = host.PostAsync(Completions, """{"model":"a","prompt":"x","max_tokens":50}""");
        while (host.Engine.GetStatistics().Running == 0)
        {
            await Task.Delay(5);
        }

        var (status, body) = await host.PostAsync("/v1/unload_lora_adapter", """{"lora_name":"a"}""");
        Assert.Equal((200, "Success: LoRA adapter 'a' removed successfully."), (status, body.GetString()));
        Assert.Equal(404, (await host.PostAsync(Completions, """{"model":"a","prompt":"x"}""")).Status);
        Assert.Empty(host.Native.DisposedAdapters);
        host.Native.StepGate.Set();
        var (runningStatus, answer) = await running;
        Assert.Equal(200, runningStatus);
        Assert.Equal(50, answer.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        await host.AssertServingAndFreeAsync();
        Assert.Equal([folder], host.Native.DisposedAdapters);
    }

    [Fact]
    public async Task A_full_queue_answers_429_with_a_time_to_try_again()
    {
        await using var host = await TestHost.StartFakeAsync(FakeNativeEngine.DefaultGeometry with { MaxBatchRows = 1 }, new SchedulerOptions { MaxQueue = 1 });
        host.Native!.StepGate.Reset();
        var running = host.PostAsync(Completions, """{"prompt":"x"}""");
        while (host.Engine.GetStatistics() is not { Running: 1, Queued: 0 })
        {
            await Task.Delay(5);
        }

        var waiting = host.PostAsync(Completions, """{"prompt":"x"}""");
        while (host.Engine.GetStatistics().Queued == 0)
        {
            await Task.Delay(5);
        }

        using var refused = await host.Client.PostAsync(new Uri(Completions, UriKind.Relative), new StringContent("""{"prompt":"x","stream":true}"""));
        Assert.Equal(HttpStatusCode.TooManyRequests, refused.StatusCode);
        Assert.True(refused.Headers.RetryAfter!.Delta >= TimeSpan.FromSeconds(1));
        host.Native.StepGate.Set();
        Assert.Equal(200, (await running).Status);
        Assert.Equal(200, (await waiting).Status);
        await host.AssertServingAndFreeAsync();
    }

    [Fact]
    public async Task A_failed_engine_answers_503_and_its_health_says_so()
    {
        await using var host = await TestHost.StartFakeAsync();
        host.Native!.SubmitError = new SLoRAException(-301, "the device was lost");
        var (status, body) = await host.PostAsync(Completions, """{"prompt":"x"}""");
        Assert.Equal(503, status);
        Assert.Contains("the device was lost", body.GetProperty("error").GetProperty("message").GetString(), StringComparison.Ordinal);
        Assert.Equal(503, (await host.PostAsync(Completions, """{"prompt":"x"}""")).Status);
        using var health = await host.Client.GetAsync(new Uri("/health", UriKind.Relative));
        Assert.Equal(HttpStatusCode.ServiceUnavailable, health.StatusCode);
    }
}
