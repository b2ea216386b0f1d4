// The tokenizer of a Hugging Face model folder. Owns the order of the steps (added tokens → normalizer →
// pre-tokenizer → model → post-processor, and back); the steps themselves are types of the sub-folders.

using System.Text;
using SLoRA.Tokenizers.AddedTokens;
using SLoRA.Tokenizers.Decoders;
using SLoRA.Tokenizers.Loading;
using SLoRA.Tokenizers.Models;
using SLoRA.Tokenizers.Normalizers;
using SLoRA.Tokenizers.PostProcessors;
using SLoRA.Tokenizers.PreTokenizers;

namespace SLoRA.Tokenizers;

/// <summary>
/// A tokenizer read from <c>tokenizer.json</c>, or a SentencePiece <c>tokenizer.model</c> where that is missing, and the
/// files beside it. Gives the ids of the library that made the file, <c>tokenizers</c> or SentencePiece, for the models it
/// supports and refuses others while loading. Immutable, safe for concurrent use.
/// </summary>
public sealed class HfTokenizer : ITokenizer
{
    private readonly TokenizerParts _parts;
    private readonly TokenTable _tokens;
    private readonly TokenBytesTable _bytes;
    private readonly AddedTokenMatcher _rawMatcher;
    private readonly AddedTokenMatcher _normalizedMatcher;

    internal HfTokenizer(
        TokenizerParts parts, int? bosId, IReadOnlyList<int> eosIds, IReadOnlyDictionary<string, string> specialTokens)
    {
        _parts = parts;
        _tokens = new TokenTable(parts.Model.Vocabulary, parts.AddedTokens);
        _bytes = new TokenBytesTable(_tokens, parts.Decoder);
        _rawMatcher = new AddedTokenMatcher(
            parts.AddedTokens.Where(token => !token.Normalized).Select(token => (token.Content, token)));
        // Tokens to be found in normalized text are normalized themselves.
        _normalizedMatcher = new AddedTokenMatcher(
            parts.AddedTokens.Where(token => token.Normalized).Select(token => (Normalize(token.Content), token)));
        BosId = bosId;
        EosIds = eosIds;
        SpecialTokens = specialTokens;
    }

    /// <inheritdoc/>
    public int VocabularySize => _tokens.Count;

    /// <inheritdoc/>
    public int? BosId { get; }

    /// <inheritdoc/>
    public IReadOnlyList<int> EosIds { get; }

    /// <summary>The special tokens that the folder names, from <c>bos_token</c> and the like to the token's text.</summary>
    public IReadOnlyDictionary<string, string> SpecialTokens { get; }

    internal TokenTable Tokens => _tokens;

    internal bool IsSentencePiece => _parts.IsSentencePiece;

    internal MergeTable Merges => _parts.Model.Merges;

    /// <summary>Loads the tokenizer of a model folder.</summary>
    /// <param name="folder">Folder with <c>tokenizer.json</c> or <c>tokenizer.model</c>; <c>tokenizer_config.json</c>,
    /// <c>special_tokens_map.json</c>, <c>generation_config.json</c> and <c>config.json</c> are used where present.</param>
    /// <returns>The tokenizer.</returns>
    /// <exception cref="TokenizerException">A file is missing, malformed or asks for something unsupported.</exception>
    public static HfTokenizer LoadFromFolder(string folder) => TokenizerLoader.Load(folder);

    /// <inheritdoc/>
    public IReadOnlyList<int> Encode(string text, bool addSpecialTokens)
    {
        IReadOnlyList<TokenPiece> pieces = EncodeWithOffsets(text, addSpecialTokens);
        int[] ids = new int[pieces.Count];
        for (int i = 0; i < ids.Length; i++)
        {
            ids[i] = pieces[i].Id;
        }

        return ids;
    }

    /// <inheritdoc/>
    public IReadOnlyList<TokenPiece> EncodeWithOffsets(string text, bool addSpecialTokens)
    {
        ArgumentNullException.ThrowIfNull(text);
        RequirePairedSurrogates(text);
        EncodingRun run = new(_parts);
        AddAll(run, addSpecialTokens ? _parts.PostProcessor.Before : []);
        _rawMatcher.Split(text, (token, start, end) =>
        {
            if (token is null)
            {
                EncodeOriginal(text, start, end, run);
            }
            else
            {
                run.Output.Add(new TokenPiece(token.Id, start, end));
            }
        });
        AddAll(run, addSpecialTokens ? _parts.PostProcessor.After : []);
        return run.Output;
    }

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens)
    {
        StreamingDecoder decoder = CreateStreamingDecoder(skipSpecialTokens);
        foreach (int id in ids)
        {
            decoder.Accept(id);
        }

        return decoder.Finish();
    }

    /// <inheritdoc/>
    public string TokenText(int id)
    {
        RequireId(id);
        return _tokens.Text(id);
    }

    /// <inheritdoc/>
    public ReadOnlyMemory<byte> TokenBytes(int id)
    {
        RequireId(id);
        return _bytes[id];
    }

    /// <inheritdoc/>
    public bool IsSpecial(int id) => _tokens.IsSpecial(id);

    /// <inheritdoc/>
    public StreamingDecoder CreateStreamingDecoder(bool skipSpecialTokens) =>
        new(_tokens, _parts.Decoder, skipSpecialTokens);

    /// <summary>The id of a token as the vocabulary writes it.</summary>
    /// <param name="token">The token's text, such as <c>&lt;|eot_id|&gt;</c>.</param>
    /// <returns>The id, or null where no token has this text.</returns>
    public int? TokenId(string token)
    {
        AddedToken? added = _parts.AddedTokens.FirstOrDefault(item => item.Content == token);
        return added is not null ? added.Id : _parts.Model.TryGetId(token, out int id) ? id : null;
    }

    private static void AddAll(EncodingRun run, IReadOnlyList<int> ids)
    {
        foreach (int id in ids)
        {
            run.Output.Add(new TokenPiece(id, 0, 0));
        }
    }

    private static void RequirePairedSurrogates(string text)
    {
        int at = 0;
        while (at < text.Length)
        {
            if (!char.IsSurrogate(text[at]))
            {
                at++;
            }
            else if (at + 1 < text.Length && char.IsSurrogatePair(text[at], text[at + 1]))
            {
                at += 2;
            }
            else
            {
                throw new TokenizerException(
                    $"the text holds an unpaired surrogate at position {at}", null, "text", $"U+{(int)text[at]:X4}");
            }
        }
    }

    private string Normalize(string text) =>
        _parts.Normalizer.Apply(NormalizedText.FromOriginal(text, 0)).Text;

    private void EncodeOriginal(string text, int start, int end, EncodingRun run)
    {
        string part = start == 0 && end == text.Length ? text : text[start..end];
        NormalizedText normalized = _parts.Normalizer.Apply(NormalizedText.FromOriginal(part, start));
        _normalizedMatcher.Split(normalized.Text, (token, from, to) =>
        {
            if (token is null)
            {
                run.EncodePlain(normalized.Slice(from, to));
            }
            else
            {
                run.Output.Add(new TokenPiece(
                    token.Id, normalized.OriginalStart(from), normalized.OriginalEnd(to - 1)));
            }
        });
    }

    private void RequireId(int id)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(id);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(id, VocabularySize);
    }
}
