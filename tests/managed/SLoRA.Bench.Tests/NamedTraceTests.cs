// Generated traces against the files that NumPy made: their SHA-256, a few of their lines, the published checks.
using System.Security.Cryptography;
using System.Text;
using SLoRA.Bench.Traces;

namespace SLoRA.Bench.Tests;

public class NamedTraceTests
{
    [Theory]
    [InlineData("burst-n200-cv6-r10", "1d27577f0924df8bfd4ca4cb0610611c6ac03392f146c78e67e40a6e784fef52")]
    [InlineData("paper-n1-r10", "76a1f8416612053e8f98bdaf7341be47243b56f6ba87f1fe283b03f2c58e05ee")]
    [InlineData("paper-n100-r10", "835034cd43ae38c99667479d6924673ad81e6485c61d8b6cf2fa1046ef984863")]
    [InlineData("paper-n1000-r10", "6713334eb1b9b40b24f4cf8313aa3b864ab24c1eb9da25bdd2a8c421ef577a2c")]
    [InlineData("paper-n200-r2", "70523b38f750442063efaacb8cc9119ce8be8dd0b502e78610d8801dbc7c272d")]
    [InlineData("paper-n2000-r10", "7b30e5fd8286209ab2761b611ca2f1d23d19e52180c1203df45daa032d87a3be")]
    [InlineData("paper-n400-r6", "f6b580dee8b2cdde893920a261556b91124e4c358af89c94bc33fc9e6006ab61")]
    [InlineData("paper-n5-r10", "ff12367df151235d259cdf2e01c69d16846173ba687c1b773d1fffde96014ea8")]
    [InlineData("saturate-n1-r60", "555c4bf465e813a6d0ab686547edef6ca5d647df4fc82826ff9bf8d2052758dd")]
    [InlineData("saturate-n100-r60", "322e5393427ec44ebf9cdcad25a079bff0272bf513f9f3690ba9642a258a0606")]
    [InlineData("saturate-n1000-r60", "7ca7b1e5f60e15f6df6ee942c54985bba39560a51fb4642e5d88cb2df19ebef9")]
    [InlineData("saturate-n2000-r60", "b048556a1ac76c3f8e8c8134725a17b0ae332d59403996cdfc0d89ac606219b0")]
    [InlineData("saturate-n5-r60", "40d2679e15d48d6ddbe39e562a11dc6a2c9d6e8a8e7499188d0c6059bc5c71cb")]
    [InlineData("skew-n1000-a0.3-r60", "22e6e8d4c5fe472db7e276cb3d20428301a546361cc0538a9bc7b8b415659f4d")]
    public void A_named_trace_is_the_file_that_numpy_made(string name, string sha256)
    {
        var text = string.Concat(NamedTraces.Open(name).Requests.Select(request => TraceFile.Format(request) + "\n"));
        Assert.Equal(sha256, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text))));
    }

    [Theory]
    [InlineData("burst-n200-cv6-r10", 0, """{"t": 0.0, "adapter": 74, "prompt_tokens": 388, "output_tokens": 268}""")]
    [InlineData("paper-n200-r2", 0, """{"t": 0.1598, "adapter": 74, "prompt_tokens": 12, "output_tokens": 410}""")]
    [InlineData("paper-n200-r2", 1, """{"t": 3.0856, "adapter": 190, "prompt_tokens": 473, "output_tokens": 43}""")]
    [InlineData("paper-n200-r2", 599, """{"t": 301.0049, "adapter": 8, "prompt_tokens": 388, "output_tokens": 489}""")]
    public void Single_lines_are_as_in_the_files(string name, int line, string text) =>
        Assert.Equal(text, TraceFile.Format(NamedTraces.Open(name).Requests[line]));

    [Fact]
    public void The_published_checks_hold()
    {
        var trace = NamedTraces.Open("paper-n200-r2");
        Assert.Equal([74, 190, 146, 119], trace.Requests.Take(4).Select(request => request.Adapter));
        Assert.Equal(301.0, Math.Round(trace.LastSeconds, 1));
        Assert.Equal(187, trace.DistinctAdapters);
        Assert.Equal(308_921, trace.PromptTokens + trace.OutputTokens);
    }

    // numpy.random.seed(0); numpy.random.randn(4), as NumPy's own documentation prints it.
    [Fact]
    public void Normal_variates_are_numpy_s()
    {
        var random = new LegacyRandom(0);
        Assert.Equal([1.76405235, 0.40015721, 0.97873798, 2.2408932], Enumerable.Range(0, 4).Select(_ => Math.Round(random.Gauss(), 8)));
    }

    // A shape above 1 takes the branch that no named trace takes: mean k s, variance k s^2. Bounds: five standard errors.
    [Fact]
    public void Gammas_above_one_have_their_moments()
    {
        var random = new LegacyRandom(7);
        var values = Enumerable.Range(0, 100_000).Select(_ => random.Gamma(4, 0.5)).ToArray();
        var mean = values.Average();
        Assert.Equal(2, mean, 0.016);
        Assert.Equal(1, values.Average(value => (value - mean) * (value - mean)), 0.03);
    }
}
