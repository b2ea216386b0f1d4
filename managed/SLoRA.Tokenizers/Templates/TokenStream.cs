// The tokens with a position, and the one nesting counter of both parsers.

namespace SLoRA.Tokenizers.Templates;

internal sealed class TokenStream(IReadOnlyList<Token> tokens, TemplateLimits limits)
{
    private int _at;
    private int _nesting;

    internal Token Current => tokens[_at];

    internal Token Next => tokens[Math.Min(_at + 1, tokens.Count - 1)];

    internal Token Take()
    {
        Token token = tokens[_at];
        _at = Math.Min(_at + 1, tokens.Count - 1);
        return token;
    }

    internal bool IsOperator(string text) => Current.Is(TokenKind.Operator, text);

    internal bool IsName(string text) => Current.Is(TokenKind.Name, text);

    internal bool TryTakeOperator(string text) => TryTake(TokenKind.Operator, text);

    internal bool TryTakeName(string text) => TryTake(TokenKind.Name, text);

    internal void ExpectOperator(string text)
    {
        if (!TryTakeOperator(text))
        {
            throw Unexpected($"'{text}'");
        }
    }

    internal string ExpectName() =>
        Current.Kind == TokenKind.Name ? Take().Text : throw Unexpected("a name");

    internal void Expect(TokenKind kind, string what)
    {
        if (Current.Kind != kind)
        {
            throw Unexpected(what);
        }

        Take();
    }

    internal TemplateException Unexpected(string wanted) =>
        new($"expected {wanted} but found {Current.Describe()}", Current.Line);

    internal void Enter()
    {
        if (++_nesting > limits.MaxNesting)
        {
            throw new TemplateException($"nested deeper than {limits.MaxNesting} levels", Current.Line);
        }
    }

    internal void Leave() => _nesting--;

    private bool TryTake(TokenKind kind, string text)
    {
        if (!Current.Is(kind, text))
        {
            return false;
        }

        Take();
        return true;
    }
}
