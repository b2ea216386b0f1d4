// Parses slora.h with libclang and copies what our own headers declare into a HeaderModel. Leaves all judgement (names,
// C# types, rules) to others.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using SLoRA.BindingsGenerator.Model;
using static SLoRA.BindingsGenerator.Clang.ClangNative;

namespace SLoRA.BindingsGenerator.Clang;

internal sealed unsafe class HeaderReader
{
    // CXTranslationUnit_DetailedPreprocessingRecord: macros become cursors.
    private const uint DetailedPreprocessing = 0x01;
    private const int SeverityError = 3;
    private const int VisitContinue = 1;

    private readonly string _includeDirectory;
    private readonly HeaderModel _model = new();
    private void* _unit;

    private HeaderReader(string includeDirectory) => _includeDirectory = includeDirectory;

    /// <summary>Reads <paramref name="header"/>; only declarations in files beside it count.</summary>
    public static HeaderModel Read(string header)
    {
        ClangToolchain.Register();
        string path = Path.GetFullPath(header);
        HeaderReader reader = new(Path.GetDirectoryName(path)!);
        reader.Parse(path);
        return reader._model;
    }

    private void Parse(string path)
    {
        // The comments of the headers are plain C comments; -fparse-all-comments attaches them to what they describe.
        string[] arguments =
        [
            "-x", "c", "-std=c11", "-ffreestanding", "-fparse-all-comments", .. ClangToolchain.IncludeArguments(),
        ];
        void* index = CreateIndex(0, 0);
        try
        {
            _unit = ParseUnit(index, path, arguments);
            RefuseErrors();
            foreach (CXCursor cursor in Children(UnitCursor(_unit)).Where(IsOurs))
            {
                ReadDeclaration(cursor);
            }
        }
        finally
        {
            if (_unit != null)
            {
                DisposeTranslationUnit(_unit);
            }

            DisposeIndex(index);
        }
    }

    private static void* ParseUnit(void* index, string path, string[] arguments)
    {
        nint[] texts = [.. arguments.Select(Marshal.StringToCoTaskMemUTF8)];
        try
        {
            void* unit;
            fixed (byte* file = Encoding.UTF8.GetBytes(path + '\0'))
            fixed (nint* pointers = texts)
            {
                int rc = ParseTranslationUnit(
                    index, file, (byte**)pointers, texts.Length, null, 0, DetailedPreprocessing, &unit);
                return rc == 0 ? unit : throw new GeneratorException($"libclang cannot read {path} (error {rc})");
            }
        }
        finally
        {
            Array.ForEach(texts, Marshal.FreeCoTaskMem);
        }
    }

    private void RefuseErrors()
    {
        List<string> errors = [];
        for (uint i = 0; i < NumDiagnostics(_unit); i++)
        {
            void* diagnostic = Diagnostic(_unit, i);
            if (DiagnosticSeverity(diagnostic) >= SeverityError)
            {
                errors.Add(Take(FormatDiagnostic(diagnostic, 1)));
            }

            DisposeDiagnostic(diagnostic);
        }

        if (errors.Count > 0)
        {
            throw new GeneratorException("the headers do not compile:\n" + string.Join('\n', errors));
        }
    }

    private void ReadDeclaration(CXCursor cursor)
    {
        switch (cursor.Kind)
        {
            case CursorKind.Struct when IsDefinition(cursor) != 0:
                _model.Structs.Add(ReadStruct(cursor));
                break;
            case CursorKind.Union:
                _model.Inexpressible.Add($"{Spelling(cursor)}: a union");
                break;
            case CursorKind.Enum:
                _model.Enums.Add(ReadEnum(cursor));
                break;
            case CursorKind.Function:
                _model.Functions.Add(ReadFunction(cursor));
                break;
            case CursorKind.Typedef:
                ReadTypedef(cursor);
                break;
            case CursorKind.MacroDefinition when IsMacroFunctionLike(cursor) == 0:
                _model.Macros.Add(new MacroDecl(Spelling(cursor), [.. Tokens(cursor).Skip(1)]));
                break;
            case CursorKind.Inclusion when !Path.Exists(Path.Combine(_includeDirectory, Spelling(cursor))):
                _model.ForeignIncludes.Add(Spelling(cursor));
                break;
        }
    }

    private StructDecl ReadStruct(CXCursor cursor)
    {
        List<FieldDecl> fields = [];
        foreach (CXCursor child in Children(cursor))
        {
            if (child.Kind == CursorKind.Union)
            {
                _model.Inexpressible.Add($"{Spelling(cursor)}: holds a union");
            }
            else if (child.Kind == CursorKind.Field)
            {
                CXType type = CursorType(child);
                fields.Add(new FieldDecl(
                    Spelling(child), ReadType(type), OffsetOfFieldBits(child) / 8, SizeOf(type), IsBitField(child) != 0,
                    Comment(child)));
            }
        }

        return new StructDecl(Spelling(cursor), fields, SizeOf(CursorType(cursor)), Comment(cursor), Place(cursor));
    }

    private static EnumDecl ReadEnum(CXCursor cursor) => new(
        Spelling(cursor),
        [.. Children(cursor).Where(c => c.Kind == CursorKind.EnumConstant)
            .Select(c => new EnumConstantDecl(Spelling(c), EnumConstantValue(c), Comment(c)))],
        Comment(cursor));

    private static FunctionDecl ReadFunction(CXCursor cursor)
    {
        IEnumerable<CXCursor> arguments = Enumerable.Range(0, NumArguments(cursor)).Select(i => Argument(cursor, (uint)i));
        return new FunctionDecl(
            Spelling(cursor),
            ReadType(CursorResultType(cursor)),
            [.. arguments.Select(a => new ParameterDecl(Spelling(a), ReadType(CursorType(a))))],
            Comment(cursor),
            Place(cursor));
    }

    private void ReadTypedef(CXCursor cursor)
    {
        CXType underlying = UnderlyingType(cursor);
        string name = Spelling(cursor);
        if (ReadType(underlying) is PointerTypeRef { Pointee: FunctionTypeRef function })
        {
            _model.Callbacks.Add(new CallbackDecl(name, function, Comment(cursor)));
        }
        else if (SizeOf(underlying) < 0)
        {
            _model.OpaqueTypes.Add(name); // CXTypeLayoutError_Incomplete: a struct that only the library knows.
        }
    }

    private static TypeRef ReadType(CXType type)
    {
        switch (type.Kind)
        {
            case TypeKind.Elaborated: // libclang >= 16 wraps typedef names in one; "struct x" always is one.
                return ReadType(NamedType(type));
            case TypeKind.Pointer:
                CXType pointee = Pointee(type);
                return new PointerTypeRef(ReadType(pointee), IsConst(pointee) != 0);
            case TypeKind.ConstantArray:
                return new ArrayTypeRef(ReadType(ArrayElement(type)), ArraySize(type));
            case TypeKind.FunctionPrototype:
                IEnumerable<int> arguments = Enumerable.Range(0, NumArgTypes(type));
                return new FunctionTypeRef(
                    ReadType(ResultType(type)), [.. arguments.Select(i => ReadType(ArgType(type, (uint)i)))]);
            default:
                string spelling = Take(TypeSpelling(type));
                return new NamedTypeRef(spelling.Replace("const ", "", StringComparison.Ordinal)
                    .Replace("struct ", "", StringComparison.Ordinal));
        }
    }

    private List<string> Tokens(CXCursor cursor)
    {
        CXToken* tokens;
        uint count;
        Tokenize(_unit, CursorExtent(cursor), &tokens, &count);
        List<string> spellings = [];
        for (uint i = 0; i < count; i++)
        {
            spellings.Add(Take(TokenSpelling(_unit, tokens[i])));
        }

        DisposeTokens(_unit, tokens, count);
        return spellings;
    }

    private bool IsOurs(CXCursor cursor) => Path.GetDirectoryName(Path.GetFullPath(File(cursor, out _))) == _includeDirectory;

    private static string Place(CXCursor cursor) => $"{Path.GetFileName(File(cursor, out uint line))}:{line}";

    private static string File(CXCursor cursor, out uint line)
    {
        void* file;
        uint lineNumber, column, offset;
        SpellingLocation(CursorLocation(cursor), &file, &lineNumber, &column, &offset);
        line = lineNumber;
        return file == null ? "/builtin/none" : Take(FileName(file));
    }

    private static string Spelling(CXCursor cursor) => Take(CursorSpelling(cursor));

    private static string Comment(CXCursor cursor) => Take(RawComment(cursor));

    private static List<CXCursor> Children(CXCursor parent)
    {
        List<CXCursor> children = [];
        GCHandle handle = GCHandle.Alloc(children);
        _ = VisitChildren(parent, &Collect, (void*)GCHandle.ToIntPtr(handle));
        handle.Free();
        return children;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Collect(CXCursor cursor, CXCursor parent, void* data)
    {
        ((List<CXCursor>)GCHandle.FromIntPtr((nint)data).Target!).Add(cursor);
        return VisitContinue;
    }
}
