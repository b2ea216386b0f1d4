// A token that is found in the text before the model sees it.

namespace SLoRA.Tokenizers.AddedTokens;

// LeftStrip / RightStrip take the white space beside the token into it; SingleWord matches only between non-words;
// Normalized matches in the normalized text instead of the original one.
internal sealed record AddedToken(
    int Id,
    string Content,
    bool IsSpecial,
    bool SingleWord,
    bool LeftStrip,
    bool RightStrip,
    bool Normalized);
