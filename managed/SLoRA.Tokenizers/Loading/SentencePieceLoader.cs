// A folder with tokenizer.model and without tokenizer.json: the steps that transformers' LlamaTokenizer would take from
// it and from tokenizer_config.json. Segmentation is SentencePiece's own.

using System.Text.Json;
using SLoRA.Tokenizers.AddedTokens;
using SLoRA.Tokenizers.Decoders;
using SLoRA.Tokenizers.Models;
using SLoRA.Tokenizers.Normalizers;
using SLoRA.Tokenizers.PostProcessors;
using SLoRA.Tokenizers.PreTokenizers;

namespace SLoRA.Tokenizers.Loading;

internal static class SentencePieceLoader
{
    internal const string ModelFile = "tokenizer.model";

    private const string Space = "\u2581";

    internal static HfTokenizer Load(string folder)
    {
        SentencePieceFile model = SentencePieceFile.Read(Path.Combine(folder, ModelFile));
        SpecialTokenFiles files = SpecialTokenFiles.Read(folder);
        Dictionary<string, string> texts = SpecialTokenFiles.ReadTexts(folder);
        AddText(texts, "bos_token", model, model.BosId);
        AddText(texts, "eos_token", model, model.EosId);
        AddText(texts, "unk_token", model, model.UnknownId);

        string configFile = Path.Combine(folder, "tokenizer_config.json");
        using JsonDocument? document = JsonFile.TryOpen(configFile);
        using JsonDocument empty = JsonDocument.Parse("{}");
        JsonPart config = new((document ?? empty).RootElement, configFile, "");
        List<AddedToken> added = SentencePieceAddedTokens.Read(model, folder, config, texts);
        Func<string, int?> idOf = text =>
            added.FirstOrDefault(token => token.Content == text)?.Id
            ?? (model.Ids.TryGetValue(text, out int id) ? id : null);
        int? bos = files.BosId(idOf) ?? model.BosId;
        IReadOnlyList<int> eos = files.EosIds(idOf);
        bool prefixes = model.AddsDummyPrefix && config["add_prefix_space"].AsBool(true);
        // "legacy" puts the dummy prefix before every part between added tokens, the newer way before the first only.
        bool everyPart = prefixes && config["legacy"].AsBool(true);
        TokenizerParts parts = new(
            everyPart
                ? new NormalizerSequence([new PrependNormalizer(Space), new ReplaceNormalizer(" ", Space)])
                : new ReplaceNormalizer(" ", Space),
            prefixes && !everyPart
                ? new MetaspacePreTokenizer(Space, MetaspacePrepend.First, split: false)
                : IdentityPreTokenizer.Instance,
            SentencePieceModel.Make(model),
            MakeDecoder(model, prefixes),
            new PostProcessor(
                Wanted(config["add_bos_token"], true, bos),
                Wanted(config["add_eos_token"], false, idOf(texts.GetValueOrDefault("eos_token", "")))),
            added,
            IsSentencePiece: true);
        return new HfTokenizer(parts, bos, eos.Count > 0 || model.EosId is not int own ? eos : [own], texts);
    }

    private static void AddText(Dictionary<string, string> texts, string name, SentencePieceFile model, int? id)
    {
        if (id is int known)
        {
            texts.TryAdd(name, model.Pieces[known].Text);
        }
    }

    // A model without such a token goes without it, unless the file asks for it outright.
    private static IReadOnlyList<int> Wanted(JsonPart option, bool fallback, int? id)
    {
        if (!option.AsBool(fallback))
        {
            return [];
        }

        return id is int token ? [token] : option.IsNull ? [] : throw option.Fail("asks for a token that the model does not have");
    }

    private static DecoderPlan MakeDecoder(SentencePieceFile model, bool prefixes)
    {
        List<Func<DecoderStage, DecoderStage>> makers = [next => new ReplaceStage(next, Space, " ")];
        HashSet<string> types = new(StringComparer.Ordinal) { "Replace", "Fuse" };
        if (model.HasByteFallback)
        {
            makers.Add(next => new ByteFallbackStage(next));
            types.Add("ByteFallback");
        }

        makers.Add(next => new FuseStage(next));
        if (prefixes)
        {
            makers.Add(next => new StripTextStage(next, ' ', 1, 0));
            types.Add("Strip");
        }

        return new DecoderPlan(makers, types);
    }
}
