// How the engine cuts the sums of a step with prompts where it is asked to (SLORA_OVERLAP_TOKENS), so that all but the first
// chunk runs beside the matmul that reads them: the rule of RowChunks in native/forward.
using System.Globalization;

namespace SLoRA.Cli.Bench.TensorParallel;

internal static class TpOverlap
{
    private const int MaxChunks = 4;
    private const int RowStep = 64;

    /// 0: sums are whole. Throws ArgumentException for a value that is no number of tokens.
    public static int LeastTokens()
    {
        if (Environment.GetEnvironmentVariable("SLORA_OVERLAP_TOKENS") is not { } asked)
        {
            return 0;
        }

        return int.TryParse(asked, NumberStyles.None, CultureInfo.InvariantCulture, out var tokens) && tokens <= 1 << 30
            ? tokens
            : throw new ArgumentException($"SLORA_OVERLAP_TOKENS is '{asked}', the limit is 0..{1 << 30}");
    }

    /// Tokens of each chunk of a step of so many.
    public static IReadOnlyList<int> Chunks(int tokens, int leastTokens)
    {
        if (leastTokens == 0 || tokens / leastTokens < 2)
        {
            return [tokens];
        }

        var wanted = Math.Min(MaxChunks, tokens / leastTokens);
        var step = Math.Min(RowStep, leastTokens);
        var each = ((tokens + wanted - 1) / wanted + step - 1) / step * step;
        var chunks = new List<int>();
        for (var begin = 0; begin < tokens; begin += each)
        {
            chunks.Add(Math.Min(each, tokens - begin));
        }

        return chunks;
    }
}
