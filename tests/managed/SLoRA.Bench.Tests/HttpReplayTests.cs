// The HTTP client against a small server that speaks the streaming completions of the OpenAI API.
using System.Net;
using System.Text;
using System.Text.Json;
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Replay;
using SLoRA.Bench.Results;
using SLoRA.Bench.Traces;

namespace SLoRA.Bench.Tests;

public sealed class HttpReplayTests : IDisposable
{
    private readonly HttpListener _listener = new();
    private readonly Uri _url;
    private readonly List<JsonElement> _bodies = [];
    private Func<JsonElement, Stream, Task> _answer = (_, _) => Task.CompletedTask;
    private int _status = 200;

    public HttpReplayTests()
    {
        for (var port = 40_000 + Environment.ProcessId % 10_000; ; port++)
        {
            try
            {
                _url = new Uri($"http://127.0.0.1:{port}/v1");
                _listener.Prefixes.Clear();
                _listener.Prefixes.Add($"http://127.0.0.1:{port}/");
                _listener.Start();
                break;
            }
            catch (HttpListenerException)
            {
                // Taken: the next one.
            }
        }

        _ = Task.Run(ServeAsync);
    }

    public void Dispose() => _listener.Close();

    [Fact]
    public async Task Requests_carry_ids_adapter_and_limits_and_tokens_are_counted_by_their_ids()
    {
        _answer = async (body, stream) =>
        {
            for (var left = body.GetProperty("max_tokens").GetInt32(); left > 0; left -= 2)
            {
                await SendAsync(stream, $$"""data: {"choices":[{"text":"","token_ids":[{{(left > 1 ? "1,2" : "1")}}]}]}""");
            }

            await SendAsync(stream, "data: [DONE]");
        };
        var trace = TraceGenerator.Generate(new TraceSpec(3, 50, 1) { ShortestTokens = 3, LongestTokens = 9 });
        var report = await ReplayAsync(trace);
        Assert.Equal((trace.Requests.Count, 0), (report.Completed, report.Aborted));
        Assert.Equal(trace.OutputTokens, report.Window.OutputTokens);
        Assert.Equal(
            trace.Requests.Select(request => (AdapterSet.NameOf(request.Adapter), request.PromptTokens, request.OutputTokens)).Order(),
            _bodies.Select(body => (body.GetProperty("model").GetString()!, body.GetProperty("prompt").GetArrayLength(), body.GetProperty("max_tokens").GetInt32())).Order());
        Assert.All(_bodies, body => Assert.True(body.GetProperty("ignore_eos").GetBoolean() && body.GetProperty("stream").GetBoolean() && body.GetProperty("temperature").GetInt32() == 0));
    }

    [Fact]
    public async Task Where_only_text_comes_the_usage_at_the_end_has_the_last_word()
    {
        _answer = async (_, stream) =>
        {
            await SendAsync(stream, """data: {"choices":[{"text":"two words"}]}""");
            await SendAsync(stream, """data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":5,"total_tokens":9}}""");
            await SendAsync(stream, "data: [DONE]");
        };
        var report = await ReplayAsync(new Trace("one", [new TraceRequest(0, -1, 4, 5)]));
        Assert.Equal((1, 0), (report.Completed, report.Aborted));
        Assert.Equal("the-base", _bodies[0].GetProperty("model").GetString());
        Assert.Equal(5 / report.WallSeconds, report.OutputTokensPerSecond, 9);
    }

    [Theory]
    [InlineData("5.0", true)]
    [InlineData("5e0", true)]
    [InlineData("\"5\"", false)]
    [InlineData("1e99", false)]
    [InlineData("null", false)]
    public async Task A_usage_that_is_no_plain_whole_number_ends_the_request(string count, bool isTaken)
    {
        _answer = async (_, stream) =>
        {
            await SendAsync(stream, """data: {"choices":[{"text":"two words"}]}""");
            await SendAsync(stream, $$$"""data: {"choices":[],"usage":{"completion_tokens":{{{count}}}}}""");
        };
        var report = await ReplayAsync(new Trace("one", [new TraceRequest(0, -1, 4, 5)])).WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Equal((isTaken ? 1 : 0, isTaken ? 0 : 1), (report.Completed, report.Aborted));
        Assert.Equal(isTaken ? null : "the stream ended after 1 of 5 tokens", report.FirstError);
    }

    [Theory]
    [InlineData(404, """{"error":{"message":"no such model"}}""", "the server answered 404: {\"error\":{\"message\":\"no such model\"}}")]
    [InlineData(200, "data: {\"error\":{\"message\":\"lost\"}}\n\n", "the server sent an error: {\"error\":{\"message\":\"lost\"}}")]
    [InlineData(200, "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: [DONE]\n\n", "the stream ended after 1 of 5 tokens")]
    [InlineData(200, "", "the stream ended after 0 of 5 tokens")]
    [InlineData(200, "data: {\"\\ud800\":1}\n\n", "Cannot read incomplete UTF-16 JSON text as string with missing low surrogate.")]
    public async Task What_goes_wrong_is_an_aborted_request_with_one_line(int status, string answer, string problem)
    {
        _status = status;
        _answer = (_, stream) => stream.WriteAsync(Encoding.UTF8.GetBytes(answer)).AsTask();
        var report = await ReplayAsync(new Trace("one", [new TraceRequest(0, 0, 4, 5)])).WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Equal((0, 1), (report.Completed, report.Aborted));
        Assert.Equal(problem, report.FirstError);
    }

    [Fact]
    public async Task A_stop_ends_streams_that_hang()
    {
        _answer = async (_, stream) =>
        {
            await SendAsync(stream, """data: {"choices":[{"text":"a"}]}""");
            await Task.Delay(TimeSpan.FromSeconds(30));
        };
        var options = new ReplayOptions { Window = new ReplayWindow(0, 0.5), StopAtWindowEnd = true };
        var report = await ReplayAsync(new Trace("one", [new TraceRequest(0, 0, 4, 5)]), options);
        Assert.Equal((1, 0, 0.5), (report.Stopped, report.Completed, report.WallSeconds));
    }

    [Fact]
    public async Task The_base_model_is_the_first_that_the_server_lists() =>
        Assert.Equal("the-base", await HttpTarget.FindBaseModelAsync(_url, null, default));

    [Fact]
    public async Task A_target_that_throws_whatever_ends_the_request()
    {
        var options = new ReplayOptions { Window = new ReplayWindow(0, 100) };
        var replayer = new Replayer(new Trace("one", [new TraceRequest(0, 0, 4, 5)]), options, AdapterSet.NameOf);
        await replayer.RunAsync(new Refusing(), null, default).WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Equal((1, "not like this"), (ReplaySummaries.Of(replayer, options).Aborted, ReplaySummaries.Of(replayer, options).FirstError));
    }

    private sealed class Refusing : IReplayTarget
    {
        public void Send(ReplayRequest request) => throw new NotSupportedException("not like this");

        public void Stop()
        {
        }
    }

    private static async Task SendAsync(Stream stream, string line)
    {
        await stream.WriteAsync(Encoding.UTF8.GetBytes(line + "\n\n"));
        await stream.FlushAsync();
    }

    private async Task<ReplaySummary> ReplayAsync(Trace trace, ReplayOptions? options = null)
    {
        options ??= new ReplayOptions { Window = new ReplayWindow(0, 100) };
        using var target = new HttpTarget(_url, "the-base");
        var replayer = new Replayer(trace, options, AdapterSet.NameOf);
        await replayer.RunAsync(target, null, default);
        return ReplaySummaries.Of(replayer, options);
    }

    private async Task ServeAsync()
    {
        while (_listener.IsListening)
        {
            try
            {
                var context = await _listener.GetContextAsync();
                _ = Task.Run(() => AnswerAsync(context));
            }
            catch (Exception error) when (error is HttpListenerException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private async Task AnswerAsync(HttpListenerContext context)
    {
        var response = context.Response;
        response.SendChunked = true;
        if (context.Request.Url!.AbsolutePath.EndsWith("/models", StringComparison.Ordinal))
        {
            await response.OutputStream.WriteAsync("""{"object":"list","data":[{"id":"the-base"},{"id":"a0"}]}"""u8.ToArray());
            response.Close();
            return;
        }

        var body = JsonDocument.Parse(context.Request.InputStream).RootElement.Clone();
        lock (_bodies)
        {
            _bodies.Add(body);
        }

        response.StatusCode = _status;
        await _answer(body, response.OutputStream);
        response.Close();
    }
}
