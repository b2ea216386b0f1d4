// Statements: data, {{ output }} and {% blocks %}.

namespace SLoRA.Tokenizers.Templates;

internal sealed class Parser
{
    private readonly TokenStream _tokens;
    private readonly ExpressionParser _expressions;
    private int _loops;

    private Parser(TokenStream tokens)
    {
        _tokens = tokens;
        _expressions = new ExpressionParser(tokens);
    }

    internal static IReadOnlyList<Statement> Parse(string source, TemplateLimits limits)
    {
        if (source.Length > limits.MaxSourceChars)
        {
            throw new TemplateException($"the template is longer than {limits.MaxSourceChars} characters", 1);
        }

        Parser parser = new(new TokenStream(Lexer.Tokenize(source), limits));
        return parser.ParseBody([]);
    }

    // Statements up to a block named in `ends`, whose name is the current token afterwards.
    private List<Statement> ParseBody(ReadOnlySpan<string> ends)
    {
        _tokens.Enter();
        List<Statement> body = [];
        while (true)
        {
            Token token = _tokens.Take();
            switch (token.Kind)
            {
                case TokenKind.Data:
                    body.Add(new DataStatement(token.Text, token.Line));
                    break;
                case TokenKind.VariableBegin:
                    body.Add(new OutputStatement(_expressions.ParseTuple(), token.Line));
                    _tokens.Expect(TokenKind.VariableEnd, "'}}'");
                    break;
                case TokenKind.BlockBegin when _tokens.Current.Kind == TokenKind.Name && ends.Contains(_tokens.Current.Text):
                    _tokens.Leave();
                    return body;
                case TokenKind.BlockBegin:
                    body.Add(ParseBlock());
                    _tokens.Expect(TokenKind.BlockEnd, "'%}'");
                    break;
                default:
                    _tokens.Leave();
                    return ends.IsEmpty
                        ? body
                        : throw new TemplateException($"a block is not closed by '{string.Join("' or '", ends!)}'", token.Line);
            }
        }
    }

    // From the block's name up to, not including, its last %}.
    private Statement ParseBlock()
    {
        int line = _tokens.Current.Line;
        string name = _tokens.ExpectName();
        return name switch
        {
            "if" => ParseIf(line),
            "for" => ParseFor(line),
            "set" => ParseSet(line),
            "macro" => ParseMacro(line),
            "call" => ParseCallBlock(line),
            "filter" => ParseFilterBlock(line),
            "generation" => new ScopeStatement(ParseEnclosed("endgeneration"), line),
            "break" or "continue" when _loops > 0 => new LoopControlStatement(name == "break", line),
            "break" or "continue" => throw new TemplateException($"'{name}' outside of a loop", line),
            _ => throw new TemplateException($"the block '{name}' is not supported or not expected here", line),
        };
    }

    private List<Statement> ParseEnclosed(string end)
    {
        _tokens.Expect(TokenKind.BlockEnd, "'%}'");
        List<Statement> body = ParseBody([end]);
        _tokens.Take();
        return body;
    }

    private IfStatement ParseIf(int line)
    {
        List<(Expression Test, IReadOnlyList<Statement> Body)> branches = [];
        List<Statement> otherwise = [];
        while (true)
        {
            Expression test = _expressions.ParseTuple(withConditional: false);
            _tokens.Expect(TokenKind.BlockEnd, "'%}'");
            branches.Add((test, ParseBody(["elif", "else", "endif"])));
            string end = _tokens.Take().Text;
            if (end == "else")
            {
                otherwise = ParseEnclosed("endif");
            }

            if (end != "elif")
            {
                return new IfStatement(branches, otherwise, line);
            }
        }
    }

    private ForStatement ParseFor(int line)
    {
        AssignmentTarget target = ParseTarget(allowAttribute: false);
        if (!_tokens.TryTakeName("in"))
        {
            throw _tokens.Unexpected("'in'");
        }

        Expression items = _expressions.ParseTuple(withConditional: false);
        Expression? filter = _tokens.TryTakeName("if") ? _expressions.Parse() : null;
        if (_tokens.IsName("recursive"))
        {
            throw new TemplateException("recursive loops are not supported", line);
        }

        _tokens.Expect(TokenKind.BlockEnd, "'%}'");
        _loops++;
        List<Statement> body = ParseBody(["else", "endfor"]);
        _loops--;
        List<Statement> otherwise = _tokens.Take().Text == "else" ? ParseEnclosed("endfor") : [];
        return new ForStatement(target, items, filter, body, otherwise, line);
    }

    private Statement ParseSet(int line)
    {
        AssignmentTarget target = ParseTarget(allowAttribute: true);
        if (_tokens.TryTakeOperator("="))
        {
            return new SetStatement(target, _expressions.ParseTuple(), line);
        }

        FilterExpression? filter = _expressions.ParseFilters(null);
        return new SetBlockStatement(target, filter, ParseEnclosed("endset"), line);
    }

    private AssignmentTarget ParseTarget(bool allowAttribute)
    {
        bool parentheses = _tokens.TryTakeOperator("(");
        List<AssignmentTarget> items = [ParseOneTarget(allowAttribute)];
        bool tuple = false;
        while (_tokens.TryTakeOperator(","))
        {
            tuple = true;
            if (_tokens.Current.Kind == TokenKind.Name || _tokens.IsOperator("("))
            {
                items.Add(ParseOneTarget(allowAttribute));
            }
        }

        if (parentheses)
        {
            _tokens.ExpectOperator(")");
        }

        return tuple ? new TupleTarget(items) : items[0];
    }

    private AssignmentTarget ParseOneTarget(bool allowAttribute)
    {
        if (_tokens.IsOperator("("))
        {
            _tokens.Enter();
            AssignmentTarget nested = ParseTarget(allowAttribute);
            _tokens.Leave();
            return nested;
        }

        string name = _tokens.ExpectName();
        return allowAttribute && _tokens.TryTakeOperator(".")
            ? new AttributeTarget(name, _tokens.ExpectName())
            : new NameTarget(name);
    }

    private MacroStatement ParseMacro(int line)
    {
        string name = _tokens.ExpectName();
        List<(string Name, Expression? Default)> parameters = ParseParameters();
        return new MacroStatement(name, parameters, ParseDetached("endmacro"), line);
    }

    private CallBlockStatement ParseCallBlock(int line)
    {
        List<(string Name, Expression? Default)> parameters = _tokens.IsOperator("(") ? ParseParameters() : [];
        if (_expressions.Parse() is not CallExpression call)
        {
            throw new TemplateException("'call' needs a macro call", line);
        }

        return new CallBlockStatement(call, new MacroStatement("caller", parameters, ParseDetached("endcall"), line), line);
    }

    // A body that a loop around it does not control.
    private List<Statement> ParseDetached(string end)
    {
        int loops = _loops;
        _loops = 0;
        List<Statement> body = ParseEnclosed(end);
        _loops = loops;
        return body;
    }

    private List<(string Name, Expression? Default)> ParseParameters()
    {
        List<(string Name, Expression? Default)> parameters = [];
        _tokens.ExpectOperator("(");
        while (!_tokens.TryTakeOperator(")"))
        {
            string name = _tokens.ExpectName();
            parameters.Add((name, _tokens.TryTakeOperator("=") ? _expressions.Parse() : null));
            if (!_tokens.TryTakeOperator(",") && !_tokens.IsOperator(")"))
            {
                throw _tokens.Unexpected("',' or ')'");
            }
        }

        return parameters;
    }

    private FilterBlockStatement ParseFilterBlock(int line)
    {
        FilterExpression first = _expressions.ParseFilter(null);
        FilterExpression filter = _expressions.ParseFilters(first) ?? first;
        return new FilterBlockStatement(filter, ParseEnclosed("endfilter"), line);
    }
}
