// Tokens inside one tag, up to its end.

using System.Globalization;
using System.Text;

namespace SLoRA.Tokenizers.Templates;

internal sealed class ExpressionLexer(string source, int start, int line, string close, List<Token> output)
{
    // Longest first.
    private static readonly string[] Operators =
    [
        "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=",
        ".", ":", "|", ",",
    ];

    // Open brackets: "}}" inside of a dictionary does not end the tag.
    private readonly Stack<char> _brackets = new();

    internal int At { get; private set; } = start;

    internal int Line { get; private set; } = line;

    // Reads past the end of the tag and returns its sign ('-', '+' or ' ').
    internal char Run()
    {
        while (true)
        {
            SkipSpace();
            if (At >= source.Length)
            {
                throw new TemplateException($"a tag is not closed by {close}", Line);
            }

            if (_brackets.Count == 0 && TryEnd(out char sign))
            {
                return sign;
            }

            ReadToken();
        }
    }

    private bool TryEnd(out char sign)
    {
        sign = source[At] is '-' or '+' ? source[At] : ' ';
        int at = At + (sign == ' ' ? 0 : 1);
        // A variable tag has no + at its end.
        if (string.CompareOrdinal(source, at, close, 0, 2) != 0 || (sign == '+' && close == "}}"))
        {
            return false;
        }

        At = at + 2;
        return true;
    }

    private void ReadToken()
    {
        char c = source[At];
        if (c is '\'' or '"')
        {
            ReadString(c);
        }
        else if (char.IsAsciiDigit(c))
        {
            ReadNumber();
        }
        else if (c == '_' || char.IsLetter(c))
        {
            int from = At;
            while (At < source.Length && (source[At] == '_' || char.IsLetterOrDigit(source[At])))
            {
                At++;
            }

            output.Add(new Token(TokenKind.Name, source[from..At], Line));
        }
        else
        {
            ReadOperator();
        }
    }

    private void ReadOperator()
    {
        foreach (string text in Operators)
        {
            if (string.CompareOrdinal(source, At, text, 0, text.Length) == 0)
            {
                Balance(text[0]);
                At += text.Length;
                output.Add(new Token(TokenKind.Operator, text, Line));
                return;
            }
        }

        throw new TemplateException($"unexpected character '{source[At]}'", Line);
    }

    private void Balance(char c)
    {
        if (c is '(' or '[' or '{')
        {
            _brackets.Push(c == '(' ? ')' : c == '[' ? ']' : '}');
        }
        else if (c is ')' or ']' or '}' && (!_brackets.TryPop(out char expected) || expected != c))
        {
            throw new TemplateException($"unexpected '{c}'", Line);
        }
    }

    private void ReadNumber()
    {
        int from = At;
        SkipDigits();
        bool isFloat = false;
        if (At + 1 < source.Length && source[At] == '.' && char.IsAsciiDigit(source[At + 1]))
        {
            isFloat = true;
            At++;
            SkipDigits();
        }

        int exponent = At + 1 < source.Length && source[At + 1] is '+' or '-' ? At + 2 : At + 1;
        if (At < source.Length && source[At] is 'e' or 'E' && exponent < source.Length
            && char.IsAsciiDigit(source[exponent]))
        {
            isFloat = true;
            At = exponent;
            SkipDigits();
        }

        string text = source[from..At].Replace("_", "", StringComparison.Ordinal);
        output.Add(new Token(isFloat ? TokenKind.Float : TokenKind.Integer, text, Line));
    }

    private void SkipDigits()
    {
        while (At < source.Length && (char.IsAsciiDigit(source[At]) || source[At] == '_'))
        {
            At++;
        }
    }

    private void ReadString(char quote)
    {
        int startLine = Line;
        StringBuilder text = new();
        At++;
        while (At < source.Length && source[At] != quote)
        {
            if (source[At] == '\\' && At + 1 < source.Length)
            {
                ReadEscape(text);
                continue;
            }

            Line += source[At] == '\n' ? 1 : 0;
            text.Append(source[At++]);
        }

        if (At >= source.Length)
        {
            throw new TemplateException("a string is not closed", startLine);
        }

        At++;
        output.Add(new Token(TokenKind.String, text.ToString(), startLine));
    }

    // Python's escapes; an unknown one stays as it is, with its backslash.
    private void ReadEscape(StringBuilder text)
    {
        char c = source[At + 1];
        At += 2;
        switch (c)
        {
            case '\n':
                Line++;
                break;
            case '\\' or '\'' or '"':
                text.Append(c);
                break;
            case 'x':
                text.Append(new Rune(ReadHex(2)).ToString());
                break;
            case 'u' or 'U':
                AppendCodePoint(text, ReadHex(c == 'u' ? 4 : 8));
                break;
            default:
                int simple = "abfnrtv0".IndexOf(c, StringComparison.Ordinal);
                text.Append(simple < 0 ? $"\\{c}" : "\a\b\f\n\r\t\v\0"[simple].ToString());
                break;
        }
    }

    private void AppendCodePoint(StringBuilder text, int value)
    {
        if (value is >= 0xD800 and <= 0xDFFF)
        {
            // Halves of a pair may be written as two escapes.
            text.Append((char)value);
        }
        else if (Rune.IsValid(value))
        {
            text.Append(new Rune(value).ToString());
        }
        else
        {
            throw new TemplateException("a string has an escape that is no character", Line);
        }
    }

    private int ReadHex(int digits)
    {
        if (At + digits > source.Length || !int.TryParse(
                source.AsSpan(At, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int value))
        {
            throw new TemplateException("a string has a broken escape", Line);
        }

        At += digits;
        return value;
    }

    private void SkipSpace()
    {
        while (At < source.Length && PythonText.IsSpace(source[At]))
        {
            Line += source[At] == '\n' ? 1 : 0;
            At++;
        }
    }
}
