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

    // The largest known tokenizer.model files (256k pieces) have about 5 MB. Merges are made of every way to cut a
    // piece, so their number is bounded by the bytes of the file, their cost by the bytes of a piece.
    internal const long MaxSentencePieceBytes = 16L << 20;

    internal const int MaxSentencePieces = 524_288;

    internal const int MaxSentencePieceTextBytes = 256;

    // Pieces that are found before the merges (control, user-defined) are a tree with a node for each character; the
    // largest known models have some 70,000 such characters.
    internal const int MaxSentencePieceTreeChars = 1 << 20;
}
