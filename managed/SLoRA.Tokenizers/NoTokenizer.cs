// Stands where a model has no tokenizer: token ids go in and come out, text is refused in one line.

using SLoRA.Tokenizers.Decoders;

namespace SLoRA.Tokenizers;

/// <summary>The tokenizer of a model that has none: refuses to encode, decodes to nothing. Safe for concurrent use.</summary>
public sealed class NoTokenizer : ITokenizer
{
    private static readonly TokenTable s_tokens = new(new Dictionary<string, int>(), []);
    private static readonly DecoderPlan s_decoder = new([], new HashSet<string>());

    /// <inheritdoc/>
    public int VocabularySize => 0;

    /// <inheritdoc/>
    public int? BosId => null;

    /// <inheritdoc/>
    public IReadOnlyList<int> EosIds => [];

    /// <summary>Throws if this is the tokenizer of a model that has none.</summary>
    /// <param name="tokenizer">A model's tokenizer.</param>
    /// <exception cref="TokenizerException">It encodes nothing.</exception>
    public static void Refuse(ITokenizer tokenizer)
    {
        if (tokenizer is NoTokenizer)
        {
            throw new TokenizerException("the model has no tokenizer; send the prompt as token ids");
        }
    }

    /// <inheritdoc/>
    public IReadOnlyList<int> Encode(string text, bool addSpecialTokens) => [.. EncodeWithOffsets(text, addSpecialTokens).Select(piece => piece.Id)];

    /// <inheritdoc/>
    public IReadOnlyList<TokenPiece> EncodeWithOffsets(string text, bool addSpecialTokens)
    {
        Refuse(this);
        return [];
    }

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens) => string.Empty;

    /// <inheritdoc/>
    public string TokenText(int id) => throw new ArgumentOutOfRangeException(nameof(id), id, "there is no vocabulary");

    /// <inheritdoc/>
    public ReadOnlyMemory<byte> TokenBytes(int id) => throw new ArgumentOutOfRangeException(nameof(id), id, "there is no vocabulary");

    /// <inheritdoc/>
    public bool IsSpecial(int id) => false;

    /// <inheritdoc/>
    public StreamingDecoder CreateStreamingDecoder(bool skipSpecialTokens) => new(s_tokens, s_decoder, skipSpecialTokens);
}
