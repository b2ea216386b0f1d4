// What tokenizer.json (or tokenizer.model) describes, read and checked. Immutable.

using SLoRA.Tokenizers.AddedTokens;
using SLoRA.Tokenizers.Decoders;
using SLoRA.Tokenizers.Models;
using SLoRA.Tokenizers.Normalizers;
using SLoRA.Tokenizers.PostProcessors;
using SLoRA.Tokenizers.PreTokenizers;

namespace SLoRA.Tokenizers.Loading;

internal sealed record TokenizerParts(
    Normalizer Normalizer,
    PreTokenizer PreTokenizer,
    BpeModel Model,
    DecoderPlan Decoder,
    PostProcessor PostProcessor,
    IReadOnlyList<AddedToken> AddedTokens,
    bool IsSentencePiece = false);
