// The trace of a measurement: by name, by file, or made from a rate and its like.
using System.CommandLine;
using System.Globalization;
using SLoRA.Bench.Traces;

namespace SLoRA.Cli.Commands.Bench;

internal sealed class TraceArguments
{
    private readonly Option<string?> _trace = new("--trace") { Description = $"A JSON Lines file or a name: {string.Join(", ", NamedTraces.Names)}." };
    private readonly Option<int> _adapters = new("--adapters-in-trace") { Description = "Made trace: adapters that requests choose from.", DefaultValueFactory = _ => 100 };
    private readonly Option<double> _rate = new("--rate") { Description = "Made trace: requests a second.", DefaultValueFactory = _ => 10 };
    private readonly Option<double> _seconds = new("--seconds") { Description = "Made trace: its length.", DefaultValueFactory = _ => 60 };
    private readonly Option<double> _alpha = new("--alpha") { Description = "Made trace: 1 is uniform over adapters, less prefers low indices.", DefaultValueFactory = _ => 1 };
    private readonly Option<double> _cv = new("--cv") { Description = "Made trace: coefficient of variation of gaps; 1 is Poisson, more is burstier.", DefaultValueFactory = _ => 1 };
    private readonly Option<string> _lengths = new("--lengths") { Description = "Made trace: prompt and output lengths, uniform in [first, second).", DefaultValueFactory = _ => "8:512" };
    private readonly Option<uint> _seed = new("--trace-seed") { Description = "Made trace: seed.", DefaultValueFactory = _ => 42 };
    private readonly Option<double> _limitSeconds = new("--limit-seconds") { Description = "Only requests that arrive before this second; 0: all." };
    private readonly Option<int> _limitRequests = new("--limit-requests") { Description = "At most this many requests; 0: all." };

    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { _trace, _adapters, _rate, _seconds, _alpha, _cv, _lengths, _seed, _limitSeconds, _limitRequests })
        {
            command.Options.Add(option);
        }
    }

    public Trace Read(ParseResult parsed)
    {
        var (seconds, requests) = (parsed.GetValue(_limitSeconds), parsed.GetValue(_limitRequests));
        if (!(seconds >= 0))
        {
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"--limit-seconds is {seconds}; it must be 0 (all) or more"));
        }

        if (requests < 0)
        {
            throw new ArgumentException($"--limit-requests is {requests}; it must be 0 (all) or more");
        }

        var trace = parsed.GetValue(_trace) is { } named ? NamedTraces.Open(named) : TraceGenerator.Generate(ReadSpec(parsed));
        var limited = trace.Limit(seconds, requests);
        return limited.Requests.Count > 0 ? limited : throw new ArgumentException("no request of the trace is within --limit-seconds and --limit-requests");
    }

    private TraceSpec ReadSpec(ParseResult parsed)
    {
        var (shortest, longest) = TraceSpec.ParseLengths(parsed.GetValue(_lengths)!);
        return new TraceSpec(parsed.GetValue(_adapters), parsed.GetValue(_rate), parsed.GetValue(_seconds), parsed.GetValue(_alpha), parsed.GetValue(_cv))
        {
            ShortestTokens = shortest,
            LongestTokens = longest,
            Seed = parsed.GetValue(_seed),
        };
    }
}
