// Bounds on what a model folder may ask of us. Real files stay far below them; a hostile file must not be able to take
// the memory of the host.

namespace SLoRA.Tokenizers.Loading;

internal static class TokenizerLimits
{
    // The largest known tokenizer.json files (262k tokens with pretty-printed merges) have about 35 MB.
    internal const long MaxFileBytes = 256L << 20;

    // Id tables are dense arrays, so one huge id would cost its size in memory.
    internal const int MaxTokenId = 4_194_303;

    // tokenizer.json nests about eight levels.
    internal const int MaxJsonDepth = 32;

    internal const int MaxAddedTokenChars = 4096;
}
