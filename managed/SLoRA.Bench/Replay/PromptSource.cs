// Random prompts by index: the same for every target and mode.
namespace SLoRA.Bench.Replay;

internal sealed class PromptSource(ulong seed, int vocabularySize)
{
    public int[] Make(int index, int numTokens)
    {
        var state = unchecked(seed + (ulong)index * 0x9e3779b97f4a7c15ul);
        var prompt = new int[numTokens];
        for (var i = 0; i < prompt.Length; i++)
        {
            prompt[i] = (int)(Next(ref state) % (ulong)vocabularySize);
        }

        return prompt;
    }

    // splitmix64 (Steele et al. 2014).
    private static ulong Next(ref ulong state)
    {
        unchecked
        {
            var x = state += 0x9e3779b97f4a7c15ul;
            x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ul;
            x = (x ^ (x >> 27)) * 0x94d049bb133111ebul;
            return x ^ (x >> 31);
        }
    }
}
