// A sequence of the fake engine, as NextToken functions see it.
using SLoRA.Engine.Native;

namespace SLoRA.Engine.Tests.Fakes;

internal sealed class FakeSequence
{
    private readonly int[] _tokens;

    public FakeSequence(SequenceStart start)
    {
        Id = start.SequenceId;
        Seed = start.Seed;
        Adapters = start.Adapters;
        NumPromptTokens = NumTokens = start.PromptTokens.Length;
        NumLogprobs = start.Sampling.NumLogprobs ?? 0;
        Temperature = start.Sampling.Temperature;
        _tokens = new int[start.MaxTokens];
        start.PromptTokens.CopyTo(_tokens, 0);
    }

    public ulong Id { get; }

    public ulong Seed { get; }

    public float Temperature { get; }

    public SequenceAdapter[] Adapters { get; }

    public int NumPromptTokens { get; }

    public int NumLogprobs { get; }

    public int NumTokens { get; private set; }

    public int NumSampled => NumTokens - NumPromptTokens;

    public ReadOnlySpan<int> Tokens => _tokens.AsSpan(0, NumTokens);

    public int Computed { get; set; }

    public int InFlight { get; set; }

    public bool IsReleased { get; set; }

    public void Append(int token) => _tokens[NumTokens++] = token;
}
