// The part of libclang's C API that the generator uses. Values are passed as libclang lays them out (stable since its
// first release); nothing here interprets them.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

[assembly: DisableRuntimeMarshalling]

namespace SLoRA.BindingsGenerator.Clang;

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CXString
{
    public void* Data;
    public uint Flags;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CXCursor
{
    public int Kind;
    public int ExtraData;
    public void* Data0;
    public void* Data1;
    public void* Data2;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CXType
{
    public int Kind;
    public void* Data0;
    public void* Data1;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CXSourceLocation
{
    public void* Data0;
    public void* Data1;
    public uint Offset;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CXSourceRange
{
    public void* Data0;
    public void* Data1;
    public uint Begin;
    public uint End;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CXToken
{
    public uint Data0;
    public uint Data1;
    public uint Data2;
    public uint Data3;
    public void* Pointer;
}

/// <summary>Numbers of <c>enum CXCursorKind</c>.</summary>
internal static class CursorKind
{
    public const int Struct = 2;
    public const int Union = 3;
    public const int Enum = 5;
    public const int Field = 6;
    public const int EnumConstant = 7;
    public const int Function = 8;
    public const int Parameter = 10;
    public const int Typedef = 20;
    public const int MacroDefinition = 501;
    public const int Inclusion = 503;
}

/// <summary>Numbers of <c>enum CXTypeKind</c>.</summary>
internal static class TypeKind
{
    public const int Pointer = 101;
    public const int Typedef = 107;
    public const int FunctionPrototype = 111;
    public const int ConstantArray = 112;
    public const int Elaborated = 119;
}

internal static unsafe partial class ClangNative
{
    public const string Library = "libclang";

    [LibraryImport(Library, EntryPoint = "clang_createIndex")]
    public static partial void* CreateIndex(int excludePch, int displayDiagnostics);

    [LibraryImport(Library, EntryPoint = "clang_disposeIndex")]
    public static partial void DisposeIndex(void* index);

    [LibraryImport(Library, EntryPoint = "clang_parseTranslationUnit2")]
    public static partial int ParseTranslationUnit(
        void* index, byte* path, byte** arguments, int numArguments, void* unsaved, uint numUnsaved, uint options, void** unit);

    [LibraryImport(Library, EntryPoint = "clang_disposeTranslationUnit")]
    public static partial void DisposeTranslationUnit(void* unit);

    [LibraryImport(Library, EntryPoint = "clang_getTranslationUnitCursor")]
    public static partial CXCursor UnitCursor(void* unit);

    [LibraryImport(Library, EntryPoint = "clang_visitChildren")]
    public static partial uint VisitChildren(
        CXCursor parent, delegate* unmanaged[Cdecl]<CXCursor, CXCursor, void*, int> visitor, void* data);

    [LibraryImport(Library, EntryPoint = "clang_getCursorSpelling")]
    public static partial CXString CursorSpelling(CXCursor cursor);

    [LibraryImport(Library, EntryPoint = "clang_getCursorType")]
    public static partial CXType CursorType(CXCursor cursor);

    [LibraryImport(Library, EntryPoint = "clang_getCursorResultType")]
    public static partial CXType CursorResultType(CXCursor cursor);

    [LibraryImport(Library, EntryPoint = "clang_getTypedefDeclUnderlyingType")]
    public static partial CXType UnderlyingType(CXCursor cursor);

    [LibraryImport(Library, EntryPoint = "clang_getEnumConstantDeclValue")]
    public static partial long EnumConstantValue(CXCursor cursor);

    [LibraryImport(Library, EntryPoint = "clang_Cursor_getNumArguments")]
    public static partial int NumArguments(CXCursor cursor);

    [LibraryImport(Library, EntryPoint = "clang_Cursor_getArgument")]
    public static partial CXCursor Argument(CXCursor cursor, uint argumentIdx);

    [LibraryImport(Library, EntryPoint = "clang_Cursor_isBitField")]
    public static partial uint IsBitField(CXCursor cursor);

    [LibraryImport(Library, EntryPoint = "clang_Cursor_isMacroFunctionLike")]
    public static partial uint IsMacroFunctionLike(CXCursor cursor);

    [LibraryImport(Library, EntryPoint = "clang_isCursorDefinition")]
    public static partial uint IsDefinition(CXCursor cursor);

    [LibraryImport(Library, EntryPoint = "clang_Cursor_getOffsetOfField")]
    public static partial long OffsetOfFieldBits(CXCursor cursor);

    [LibraryImport(Library, EntryPoint = "clang_Cursor_getRawCommentText")]
    public static partial CXString RawComment(CXCursor cursor);

    [LibraryImport(Library, EntryPoint = "clang_getCursorLocation")]
    public static partial CXSourceLocation CursorLocation(CXCursor cursor);

    [LibraryImport(Library, EntryPoint = "clang_getSpellingLocation")]
    public static partial void SpellingLocation(
        CXSourceLocation location, void** file, uint* line, uint* column, uint* offset);

    [LibraryImport(Library, EntryPoint = "clang_getFileName")]
    public static partial CXString FileName(void* file);

    [LibraryImport(Library, EntryPoint = "clang_getCursorExtent")]
    public static partial CXSourceRange CursorExtent(CXCursor cursor);

    [LibraryImport(Library, EntryPoint = "clang_tokenize")]
    public static partial void Tokenize(void* unit, CXSourceRange range, CXToken** tokens, uint* numTokens);

    [LibraryImport(Library, EntryPoint = "clang_getTokenSpelling")]
    public static partial CXString TokenSpelling(void* unit, CXToken token);

    [LibraryImport(Library, EntryPoint = "clang_disposeTokens")]
    public static partial void DisposeTokens(void* unit, CXToken* tokens, uint numTokens);

    [LibraryImport(Library, EntryPoint = "clang_getTypeSpelling")]
    public static partial CXString TypeSpelling(CXType type);

    [LibraryImport(Library, EntryPoint = "clang_isConstQualifiedType")]
    public static partial uint IsConst(CXType type);

    [LibraryImport(Library, EntryPoint = "clang_getPointeeType")]
    public static partial CXType Pointee(CXType type);

    [LibraryImport(Library, EntryPoint = "clang_getArrayElementType")]
    public static partial CXType ArrayElement(CXType type);

    [LibraryImport(Library, EntryPoint = "clang_getArraySize")]
    public static partial long ArraySize(CXType type);

    [LibraryImport(Library, EntryPoint = "clang_getResultType")]
    public static partial CXType ResultType(CXType type);

    [LibraryImport(Library, EntryPoint = "clang_getNumArgTypes")]
    public static partial int NumArgTypes(CXType type);

    [LibraryImport(Library, EntryPoint = "clang_getArgType")]
    public static partial CXType ArgType(CXType type, uint argumentIdx);

    [LibraryImport(Library, EntryPoint = "clang_Type_getNamedType")]
    public static partial CXType NamedType(CXType type);

    [LibraryImport(Library, EntryPoint = "clang_Type_getSizeOf")]
    public static partial long SizeOf(CXType type);

    [LibraryImport(Library, EntryPoint = "clang_getNumDiagnostics")]
    public static partial uint NumDiagnostics(void* unit);

    [LibraryImport(Library, EntryPoint = "clang_getDiagnostic")]
    public static partial void* Diagnostic(void* unit, uint diagnosticIdx);

    [LibraryImport(Library, EntryPoint = "clang_getDiagnosticSeverity")]
    public static partial int DiagnosticSeverity(void* diagnostic);

    [LibraryImport(Library, EntryPoint = "clang_formatDiagnostic")]
    public static partial CXString FormatDiagnostic(void* diagnostic, uint options);

    [LibraryImport(Library, EntryPoint = "clang_disposeDiagnostic")]
    public static partial void DisposeDiagnostic(void* diagnostic);

    [LibraryImport(Library, EntryPoint = "clang_getCString")]
    private static partial byte* CString(CXString text);

    [LibraryImport(Library, EntryPoint = "clang_disposeString")]
    private static partial void DisposeString(CXString text);

    /// <summary>Copies a libclang string and gives it back; null becomes the empty string.</summary>
    public static string Take(CXString text)
    {
        string copy = Marshal.PtrToStringUTF8((nint)CString(text)) ?? "";
        DisposeString(text);
        return copy;
    }
}
