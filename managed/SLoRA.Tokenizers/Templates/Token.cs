// Tokens of a template.

namespace SLoRA.Tokenizers.Templates;

internal enum TokenKind
{
    Data,
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name,
    String,
    Integer,
    Float,
    Operator,
    End,
}

internal readonly record struct Token(TokenKind Kind, string Text, int Line)
{
    internal bool Is(TokenKind kind, string text) => Kind == kind && Text == text;

    internal string Describe() => Kind == TokenKind.End ? "the end of the template" : $"'{Text}'";
}
