// What the engine and the server need of a tokenizer. Implementations are immutable after load.

namespace SLoRA.Tokenizers;

/// <summary>Text to token ids and back. All members may be called from several threads at once.</summary>
public interface ITokenizer
{
    /// <summary>Highest token id plus one. The model's own vocabulary may be padded beyond it.</summary>
    int VocabularySize { get; }

    /// <summary>The begin-of-text token, or null where the model has none.</summary>
    int? BosId { get; }

    /// <summary>Every token that ends a generation, without repeats; empty where the files name none.</summary>
    IReadOnlyList<int> EosIds { get; }

    /// <summary>Encodes a text.</summary>
    /// <param name="text">The text; special tokens written in it become their ids.</param>
    /// <param name="addSpecialTokens">Whether the post-processor adds its tokens (begin of text).</param>
    /// <returns>The ids.</returns>
    /// <exception cref="TokenizerException">The text holds an unpaired surrogate.</exception>
    IReadOnlyList<int> Encode(string text, bool addSpecialTokens);

    /// <summary>Encodes a text and says where each token came from.</summary>
    /// <param name="text">The text; special tokens written in it become their ids.</param>
    /// <param name="addSpecialTokens">Whether the post-processor adds its tokens (begin of text).</param>
    /// <returns>The tokens with their places.</returns>
    /// <exception cref="TokenizerException">The text holds an unpaired surrogate.</exception>
    IReadOnlyList<TokenPiece> EncodeWithOffsets(string text, bool addSpecialTokens);

    /// <summary>Decodes ids. Invalid UTF-8 becomes U+FFFD; ids outside the vocabulary add nothing.</summary>
    /// <param name="ids">The ids.</param>
    /// <param name="skipSpecialTokens">Whether special tokens are left out.</param>
    /// <returns>The text.</returns>
    string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens);

    /// <summary>The token as the vocabulary writes it (a space of byte-level models is <c>Ġ</c>).</summary>
    /// <param name="id">Token id.</param>
    /// <returns>The token's text; empty for a hole in the vocabulary.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The id is not in 0 … VocabularySize − 1.</exception>
    string TokenText(int id);

    /// <summary>The UTF-8 bytes the token adds to a text, which need not be whole characters.</summary>
    /// <param name="id">Token id.</param>
    /// <returns>The bytes.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The id is not in 0 … VocabularySize − 1.</exception>
    ReadOnlyMemory<byte> TokenBytes(int id);

    /// <summary>Whether the token is a special one, which <c>skipSpecialTokens</c> leaves out.</summary>
    /// <param name="id">Token id; false for ids outside the vocabulary.</param>
    /// <returns>True for special tokens.</returns>
    bool IsSpecial(int id);

    /// <summary>Starts decoding a stream of ids.</summary>
    /// <param name="skipSpecialTokens">Whether special tokens are left out.</param>
    /// <returns>A decoder for one stream; not safe for concurrent use.</returns>
    StreamingDecoder CreateStreamingDecoder(bool skipSpecialTokens);
}
