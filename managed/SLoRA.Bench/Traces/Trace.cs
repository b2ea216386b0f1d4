// Requests in order of arrival: what a replay sends.
namespace SLoRA.Bench.Traces;

internal sealed record Trace(string Name, IReadOnlyList<TraceRequest> Requests)
{
    public double LastSeconds => Requests.Count == 0 ? 0 : Requests[^1].Seconds;

    /// Adapters that the requests were drawn from, as far as it is known.
    public int Population { get; init; }

    /// That, or one past the largest adapter index; 0 if all requests are for the base model.
    public int NumAdapters => Math.Max(Population, Requests.Count == 0 ? 0 : Requests.Max(request => request.Adapter) + 1);

    public int DistinctAdapters => Requests.Where(request => request.Adapter >= 0).Select(request => request.Adapter).Distinct().Count();

    public long PromptTokens => Requests.Sum(request => (long)request.PromptTokens);

    public long OutputTokens => Requests.Sum(request => (long)request.OutputTokens);

    /// Prompt and output of the longest request.
    public int LongestTokens => Requests.Count == 0 ? 0 : Requests.Max(request => request.PromptTokens + request.OutputTokens);

    /// Throws ArgumentException where a request would be refused: its tokens and the limit.
    public void RequireContext(int contextTokens)
    {
        if (LongestTokens > contextTokens)
        {
            throw new ArgumentException($"the longest request of trace '{Name}' has {LongestTokens} tokens, prompt and output; the context has {contextTokens}: shorter --lengths are needed, or another trace");
        }
    }

    /// The requests that arrive before `seconds`, at most `count`; 0: no limit.
    public Trace Limit(double seconds, int count)
    {
        var requests = Requests.Where(request => seconds <= 0 || request.Seconds < seconds);
        return this with { Requests = [.. count > 0 ? requests.Take(count) : requests] };
    }
}
