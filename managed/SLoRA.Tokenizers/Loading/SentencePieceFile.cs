// What a SentencePiece tokenizer.model says, as far as it bears on ids: the pieces, and what the trainer's and the
// normalizer's parts ask for. Whatever is not known here and would change ids is refused. The numbers of the fields are
// those of the public sentencepiece_model.proto; so are the defaults of fields that a file leaves out.

namespace SLoRA.Tokenizers.Loading;

internal enum PieceType
{
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

internal readonly record struct SentencePiece(string Text, float Score, PieceType Type);

internal sealed class SentencePieceFile
{
    private const int Bpe = 2;

    private static readonly string[] ModelTypes = ["", "UNIGRAM", "BPE", "WORD", "CHAR"];

    private readonly string _file;
    private readonly List<SentencePiece> _pieces = [];
    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private int _modelType = 1;
    private int _unknownId;
    private string _normalizer = "";
    private int _charsMapBytes;
    private int _denormalizerBytes;
    private bool _removesExtraSpaces = true;
    private bool _escapesSpaces = true;
    private bool _spaceIsSuffix;

    private SentencePieceFile(string file) => _file = file;

    // The id of a piece is its place.
    internal IReadOnlyList<SentencePiece> Pieces => _pieces;

    internal Dictionary<string, int> Ids => _ids;

    internal bool HasByteFallback { get; private set; }

    internal bool AddsDummyPrefix { get; private set; } = true;

    internal int UnknownId => _unknownId;

    // Null where the model has none.
    internal int? BosId { get; private set; } = 1;

    internal int? EosId { get; private set; } = 2;

    internal static SentencePieceFile Read(string file)
    {
        SentencePieceFile result = new(file);
        result.ReadModel(ReadBytes(file));
        result.CheckOptions();
        result.CheckPieces();
        return result;
    }

    internal TokenizerException Fail(string problem, string key, string? value) => new(problem, _file, key, value);

    private static byte[] ReadBytes(string file)
    {
        try
        {
            FileInfo info = new(file);
            return info.Length <= TokenizerLimits.MaxSentencePieceBytes
                ? File.ReadAllBytes(file)
                : throw new TokenizerException(
                    $"is larger than {TokenizerLimits.MaxSentencePieceBytes} bytes", file, null, $"{info.Length}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TokenizerException("cannot be read", file, null, e.Message, e);
        }
    }

    private void ReadModel(byte[] bytes)
    {
        ProtoReader model = new(bytes, _file, "");
        while (model.Next(out int field))
        {
            switch (field)
            {
                case 1:
                    ReadPiece(model.MessageOf($"pieces[{_pieces.Count}]"));
                    break;
                case 2:
                    ReadTrainer(model.MessageOf("trainer_spec"));
                    break;
                case 3:
                    ReadNormalizer(model.MessageOf("normalizer_spec"));
                    break;
                case 5:
                    ReadDenormalizer(model.MessageOf("denormalizer_spec"));
                    break;
                default:
                    model.Skip();
                    break;
            }
        }
    }

    private void ReadPiece(ProtoReader piece)
    {
        int id = _pieces.Count;
        string text = "";
        float score = 0;
        int type = (int)PieceType.Normal;
        if (id == TokenizerLimits.MaxSentencePieces)
        {
            throw Fail($"goes beyond {TokenizerLimits.MaxSentencePieces} pieces", $"pieces[{id}]", null);
        }

        while (piece.Next(out int field))
        {
            switch (field)
            {
                case 1:
                    text = piece.TextOf("piece", TokenizerLimits.MaxSentencePieceTextBytes);
                    break;
                case 2:
                    score = piece.FloatOf("score");
                    break;
                case 3:
                    type = piece.IntOf("type");
                    break;
                default:
                    piece.Skip();
                    break;
            }
        }

        if (text.Length == 0)
        {
            throw Fail("must not be empty", $"pieces[{id}].piece", null);
        }

        if (!float.IsFinite(score))
        {
            throw Fail("must be a finite number", $"pieces[{id}].score", $"{score}");
        }

        if (type is < (int)PieceType.Normal or > (int)PieceType.Byte)
        {
            throw Fail("must be a type in 1 … 6", $"pieces[{id}].type", $"{type}");
        }

        if (!_ids.TryAdd(text, id))
        {
            throw Fail($"is the same as pieces[{_ids[text]}].piece", $"pieces[{id}].piece", text);
        }

        _pieces.Add(new SentencePiece(text, score, (PieceType)type));
    }

    private void ReadTrainer(ProtoReader trainer)
    {
        while (trainer.Next(out int field))
        {
            switch (field)
            {
                case 3:
                    _modelType = trainer.IntOf("model_type");
                    break;
                case 24:
                    _spaceIsSuffix = trainer.BoolOf("treat_whitespace_as_suffix");
                    break;
                case 35:
                    HasByteFallback = trainer.BoolOf("byte_fallback");
                    break;
                case 41:
                    BosId = IdOrNone(trainer.IntOf("bos_id"));
                    break;
                case 42:
                    EosId = IdOrNone(trainer.IntOf("eos_id"));
                    break;
                default:
                    trainer.Skip();
                    break;
            }
        }
    }

    private void ReadNormalizer(ProtoReader normalizer)
    {
        while (normalizer.Next(out int field))
        {
            switch (field)
            {
                case 1:
                    _normalizer = normalizer.TextOf("name", TokenizerLimits.MaxSentencePieceTextBytes);
                    break;
                case 2:
                    _charsMapBytes = normalizer.BytesOf("precompiled_charsmap").Length;
                    break;
                case 3:
                    AddsDummyPrefix = normalizer.BoolOf("add_dummy_prefix");
                    break;
                case 4:
                    _removesExtraSpaces = normalizer.BoolOf("remove_extra_whitespaces");
                    break;
                case 5:
                    _escapesSpaces = normalizer.BoolOf("escape_whitespaces");
                    break;
                default:
                    normalizer.Skip();
                    break;
            }
        }
    }

    private void ReadDenormalizer(ProtoReader denormalizer)
    {
        while (denormalizer.Next(out int field))
        {
            if (field == 2)
            {
                _denormalizerBytes = denormalizer.BytesOf("precompiled_charsmap").Length;
            }
            else
            {
                denormalizer.Skip();
            }
        }
    }

    private void CheckOptions()
    {
        if (_modelType != Bpe)
        {
            string name = _modelType is > 0 and <= 4 ? $"{ModelTypes[_modelType]} ({_modelType})" : $"{_modelType}";
            throw Fail("is a model type that is not supported (only BPE is)", "trainer_spec.model_type", name);
        }

        if (_charsMapBytes > 0)
        {
            throw Fail(
                "names a normalizer that is not supported (only identity, with an empty precompiled_charsmap, is)",
                "normalizer_spec.name",
                $"{_normalizer}, {_charsMapBytes} bytes");
        }

        Refuse(_denormalizerBytes > 0, "denormalizer_spec.precompiled_charsmap", $"{_denormalizerBytes} bytes");
        Refuse(_removesExtraSpaces, "normalizer_spec.remove_extra_whitespaces", "true");
        Refuse(!_escapesSpaces, "normalizer_spec.escape_whitespaces", "false");
        Refuse(_spaceIsSuffix, "trainer_spec.treat_whitespace_as_suffix", "true");
    }

    private void Refuse(bool asked, string key, string value)
    {
        if (asked)
        {
            throw Fail("is not supported", key, value);
        }
    }

    private void CheckPieces()
    {
        int numUnknown = 0;
        int numBytes = 0;
        int numTreeChars = 0;
        for (int id = 0; id < _pieces.Count; id++)
        {
            SentencePiece piece = _pieces[id];
            numTreeChars += piece.Type is PieceType.Control or PieceType.UserDefined ? piece.Text.Length : 0;
            if (numTreeChars > TokenizerLimits.MaxSentencePieceTreeChars)
            {
                throw Fail(
                    $"takes the control and user-defined pieces beyond {TokenizerLimits.MaxSentencePieceTreeChars} characters",
                    $"pieces[{id}].piece",
                    piece.Text);
            }

            switch (piece.Type)
            {
                case PieceType.Unknown:
                    numUnknown++;
                    _unknownId = id;
                    break;
                case PieceType.Unused:
                    throw Fail("is UNUSED (5), which is not supported", $"pieces[{id}].type", piece.Text);
                case PieceType.Byte when !Models.ByteFallbackToken.TryParse(piece.Text, out byte value)
                    || piece.Text != Models.ByteFallbackToken.TextOf(value):
                    throw Fail("is a BYTE that is not written as <0x00> … <0xFF>", $"pieces[{id}].piece", piece.Text);
                case PieceType.Byte:
                    numBytes++;
                    break;
            }
        }

        if (numUnknown != 1)
        {
            throw Fail("must have one piece of the type UNKNOWN (2)", "pieces", $"{numUnknown}");
        }

        int wanted = HasByteFallback ? 256 : 0;
        if (numBytes != wanted)
        {
            throw Fail(
                $"must have {wanted} pieces of the type BYTE (6), as trainer_spec.byte_fallback says", "pieces", $"{numBytes}");
        }

        BosId = Known(BosId, "trainer_spec.bos_id");
        EosId = Known(EosId, "trainer_spec.eos_id");
    }

    private int? Known(int? id, string key) => id is null || id < _pieces.Count
        ? id
        : throw Fail($"must be an id below the {_pieces.Count} of the pieces", key, $"{id}");

    private static int? IdOrNone(int id) => id < 0 ? null : id;
}
