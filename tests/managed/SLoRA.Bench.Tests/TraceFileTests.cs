// Reading traces: what is good comes back, what is bad is named by line, value and limit.
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Traces;

namespace SLoRA.Bench.Tests;

public sealed class TraceFileTests : IDisposable
{
    private const string Good = """{"t": 0.5, "adapter": 3, "prompt_tokens": 7, "output_tokens": 9}""";

    private readonly string _path = Path.GetTempFileName();

    public void Dispose() => File.Delete(_path);

    [Fact]
    public void What_is_written_is_read()
    {
        var trace = TraceGenerator.Generate(new TraceSpec(7, 5, 20, Alpha: 0.5, Cv: 2) { ShortestTokens = 2, LongestTokens = 30, Seed = 3 });
        TraceFile.Write(trace, _path);
        Assert.Equal(trace.Requests, TraceFile.Read(_path).Requests);
        Assert.DoesNotContain('\r', File.ReadAllText(_path));
    }

    [Theory]
    [InlineData("""{"t": 0.1, "adapter": 3, "prompt_tokens": 7, "output_tokens": 9}""", "t is 0.1; lines must be sorted and the one before has 0.5")]
    [InlineData("""{"t": -1, "adapter": 3, "prompt_tokens": 7, "output_tokens": 9}""", "t is -1; it must be seconds in [0, 1e9)")]
    [InlineData("""{"t": "x", "adapter": 3, "prompt_tokens": 7, "output_tokens": 9}""", "t is \"x\"; it must be seconds in [0, 1e9)")]
    [InlineData("""{"t": 1, "adapter": -2, "prompt_tokens": 7, "output_tokens": 9}""", "adapter is -2; it must be a whole number in [-1, 10000000]")]
    [InlineData("""{"t": 1, "adapter": 1.5, "prompt_tokens": 7, "output_tokens": 9}""", "adapter is 1.5; it must be a whole number in [-1, 10000000]")]
    [InlineData("""{"t": 1, "adapter": 1, "prompt_tokens": 0, "output_tokens": 9}""", "prompt_tokens is 0; it must be a whole number in [1, 1048576]")]
    [InlineData("""{"t": 1, "adapter": 1, "prompt_tokens": 4, "output_tokens": 1048577}""", "output_tokens is 1048577; it must be a whole number in [1, 1048576]")]
    [InlineData("""{"t": 1, "adapter": 1, "prompt_tokens": 4}""", "output_tokens is missing")]
    [InlineData("""{"t": 1, """, "not JSON: {\"t\": 1, ")]
    [InlineData("""{"\ud800": 1}""", "not JSON: {\"\\ud800\": 1}")]
    [InlineData("[1]", "an object is needed, this is [1]")]
    public void A_bad_line_is_named(string line, string problem)
    {
        File.WriteAllText(_path, Good + "\n\n" + line + "\n");
        var error = Assert.Throws<TraceException>(() => TraceFile.Read(_path));
        Assert.Equal($"{_path}:3: {problem}", error.Message);
    }

    [Fact]
    public void An_empty_file_and_a_missing_one_are_refused()
    {
        Assert.Contains("there is no request in it", Assert.Throws<TraceException>(() => TraceFile.Read(_path)).Message, StringComparison.Ordinal);
        Assert.Contains("'nowhere' is neither a file nor the name of a trace", Assert.Throws<TraceException>(() => NamedTraces.Open("nowhere")).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, 10, 10, 1, 1, "the number of adapters is 0; it must be in [1, 10000000]")]
    [InlineData(5, 0, 10, 1, 1, "rate is 0; it must be in (0, 1000000]")]
    [InlineData(5, 10, -1, 1, 1, "seconds is -1; it must be")]
    [InlineData(5, 10, 10, 0, 1, "alpha is 0; it must be in (0, 1000]")]
    [InlineData(5, 10, 10, 1, double.NaN, "cv is NaN; it must be in (0, 1000]")]
    public void A_bad_specification_is_refused(int adapters, double rate, double seconds, double alpha, double cv, string problem) =>
        Assert.StartsWith(problem, Assert.Throws<TraceException>(() => TraceGenerator.Generate(new TraceSpec(adapters, rate, seconds, alpha, cv))).Message, StringComparison.Ordinal);

    [Fact]
    public void A_set_has_no_more_adapters_than_an_engine_takes() => Assert.Equal(
        "the number of adapters is 1000001; it must be in [0, 1000000]", Assert.Throws<ArgumentException>(new AdapterSet("S1", 1_000_001, [8]).Validate).Message);

    [Fact]
    public void A_limit_keeps_the_beginning()
    {
        var trace = NamedTraces.Open("saturate-n5-r60");
        var limited = trace.Limit(10, 0);
        Assert.Equal(trace.Requests.Count(request => request.Seconds < 10), limited.Requests.Count);
        Assert.Equal(17, trace.Limit(10, 17).Requests.Count);
        Assert.Equal(trace.Requests[16], trace.Limit(10, 17).Requests[16]);
    }
}
