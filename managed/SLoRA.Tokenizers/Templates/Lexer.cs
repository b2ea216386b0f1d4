// Source to tokens, with Jinja's white-space rules as transformers sets them: trim_blocks (the line end after a block
// or comment goes), lstrip_blocks (blanks before one that starts a line go), and the signs - and + beside a tag. The
// inside of tags is ExpressionLexer's.

namespace SLoRA.Tokenizers.Templates;

internal sealed class Lexer
{
    private readonly string _source;
    private readonly List<Token> _tokens = [];
    private int _at;
    private int _line = 1;

    // Whether nothing but a line end precedes _at, so that blanks before the next block may go.
    private bool _lineStarting = true;

    private Lexer(string source) => _source = source;

    internal static List<Token> Tokenize(string source)
    {
        string text = source.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        // Jinja drops one line end at the end of a template.
        Lexer lexer = new(text.EndsWith('\n') ? text[..^1] : text);
        lexer.Run();
        return lexer._tokens;
    }

    private void Run()
    {
        while (_at < _source.Length)
        {
            int tag = FindTag(_at);
            if (tag < 0)
            {
                AddData(_source[_at..]);
                _at = _source.Length;
                break;
            }

            string data = _source[_at..tag];
            char kind = _source[tag + 1];
            char sign = SignAt(tag + 2);
            AddData(StripBefore(data, sign, isVariable: kind == '{'));
            _line += LineEnds(data);
            _at = tag + 2 + (sign == ' ' ? 0 : 1);
            ReadTag(kind);
        }

        _tokens.Add(new Token(TokenKind.End, "", _line));
    }

    private void ReadTag(char kind)
    {
        if (kind == '#')
        {
            int end = _source.IndexOf("#}", _at, StringComparison.Ordinal);
            if (end < 0)
            {
                throw new TemplateException("a comment is not closed", _line);
            }

            char sign = end > _at ? _source[end - 1] : ' ';
            Advance(end + 2);
            AfterBlock(sign);
        }
        else if (kind == '{')
        {
            ReadInside(TokenKind.VariableBegin, TokenKind.VariableEnd, "}}");
        }
        else if (TryReadRawBegin())
        {
            ReadRaw();
        }
        else
        {
            ReadInside(TokenKind.BlockBegin, TokenKind.BlockEnd, "%}");
        }
    }

    private void ReadInside(TokenKind begin, TokenKind end, string close)
    {
        _tokens.Add(new Token(begin, close == "}}" ? "{{" : "{%", _line));
        ExpressionLexer inside = new(_source, _at, _line, close, _tokens);
        char sign = inside.Run();
        _tokens.Add(new Token(end, close, inside.Line));
        (_at, _line) = (inside.At, inside.Line);
        if (begin == TokenKind.BlockBegin)
        {
            AfterBlock(sign);
        }
        else
        {
            _lineStarting = sign == '-' && SkipSpace();
        }
    }

    // {% raw %} … {% endraw %} is data as it stands.
    private void ReadRaw()
    {
        int from = _at;
        int tag = from;
        while (true)
        {
            tag = _source.IndexOf("{%", tag, StringComparison.Ordinal);
            if (tag < 0)
            {
                throw new TemplateException("a raw block is not closed", _line);
            }

            char sign = SignAt(tag + 2);
            int name = SkipSpaceFrom(tag + 2 + (sign == ' ' ? 0 : 1));
            if (TryReadRawTag(name, "endraw", out int end, out char closeSign))
            {
                AddData(StripBefore(_source[from..tag], sign, isVariable: false));
                Advance(end);
                AfterBlock(closeSign);
                return;
            }

            tag += 2;
        }
    }

    private bool TryReadRawBegin()
    {
        if (!TryReadRawTag(SkipSpaceFrom(_at), "raw", out int end, out char sign))
        {
            return false;
        }

        Advance(end);
        _lineStarting = sign == '-' && SkipSpace();
        return true;
    }

    private bool TryReadRawTag(int at, string name, out int end, out char sign)
    {
        (end, sign) = (0, ' ');
        if (string.CompareOrdinal(_source, at, name, 0, name.Length) != 0)
        {
            return false;
        }

        at = SkipSpaceFrom(at + name.Length);
        sign = SignAt(at);
        at += sign == ' ' ? 0 : 1;
        end = at + 2;
        return string.CompareOrdinal(_source, at, "%}", 0, 2) == 0;
    }

    private int FindTag(int from)
    {
        for (int at = _source.IndexOf('{', from); at >= 0 && at + 1 < _source.Length; at = _source.IndexOf('{', at + 1))
        {
            if (_source[at + 1] is '{' or '%' or '#')
            {
                return at;
            }
        }

        return -1;
    }

    private char SignAt(int at) => at < _source.Length && _source[at] is '-' or '+' ? _source[at] : ' ';

    private string StripBefore(string data, char sign, bool isVariable)
    {
        if (sign == '-')
        {
            return PythonText.TrimEnd(data);
        }

        if (sign == '+' || isVariable)
        {
            return data;
        }

        int lineStart = data.LastIndexOf('\n') + 1;
        bool startsLine = lineStart > 0 || _lineStarting;
        return startsLine && PythonText.IsBlank(data.AsSpan(lineStart)) ? data[..lineStart] : data;
    }

    private void AfterBlock(char sign)
    {
        if (sign == '-')
        {
            _lineStarting = SkipSpace();
        }
        else if (sign != '+' && _at < _source.Length && _source[_at] == '\n')
        {
            Advance(_at + 1);
            _lineStarting = true;
        }
        else
        {
            _lineStarting = false;
        }
    }

    // Returns whether what was skipped ends with a line end.
    private bool SkipSpace()
    {
        int end = SkipSpaceFrom(_at);
        bool lineEnd = end > _at && _source[end - 1] == '\n';
        Advance(end);
        return lineEnd;
    }

    private int SkipSpaceFrom(int at)
    {
        while (at < _source.Length && PythonText.IsSpace(_source[at]))
        {
            at++;
        }

        return at;
    }

    private void Advance(int to)
    {
        _line += LineEnds(_source.AsSpan(_at, to - _at));
        _at = to;
    }

    private static int LineEnds(ReadOnlySpan<char> text) => text.Count('\n');

    private void AddData(string data)
    {
        if (data.Length > 0)
        {
            _tokens.Add(new Token(TokenKind.Data, data, _line));
        }
    }
}
