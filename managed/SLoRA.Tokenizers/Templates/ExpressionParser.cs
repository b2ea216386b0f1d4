// Expressions by recursive descent. The levels and their order are Jinja's, where filters and tests bind tighter than
// arithmetic and ~ stands between + and *.

using System.Globalization;

namespace SLoRA.Tokenizers.Templates;

internal sealed class ExpressionParser(TokenStream tokens)
{
    private static readonly HashSet<string> CompareOperators = ["==", "!=", "<", "<=", ">", ">="];

    // Words after `is NAME` that belong to the expression around the test, not to the test.
    private static readonly HashSet<string> NotTestArguments = ["else", "or", "and", "if", "in", "not", "is"];

    internal Expression Parse() => Nested(ParseConditional);

    // A tuple without parentheses, as after `in`, `=` and `{{`. Loops and ifs end before `if`.
    internal Expression ParseTuple(bool withConditional = true)
    {
        int line = tokens.Current.Line;
        Func<Expression> parse = withConditional ? Parse : () => Nested(ParseOr);
        Expression first = parse();
        if (!tokens.IsOperator(","))
        {
            return first;
        }

        List<Expression> items = [first];
        while (tokens.TryTakeOperator(",") && !AtTupleEnd())
        {
            items.Add(parse());
        }

        return new ListExpression(items, IsTuple: true, line);
    }

    internal FilterExpression? ParseFilters(Expression? target)
    {
        FilterExpression? filter = null;
        while (tokens.TryTakeOperator("|"))
        {
            filter = ParseFilter(filter ?? target);
        }

        return filter;
    }

    internal FilterExpression ParseFilter(Expression? target)
    {
        int line = tokens.Current.Line;
        string name = tokens.ExpectName();
        ArgumentList arguments = tokens.IsOperator("(") ? ParseArguments() : ArgumentList.Empty;
        return FilterTable.IsKnown(name)
            ? new FilterExpression(target, name, arguments, line)
            : throw new TemplateException($"the filter '{name}' is not supported", line);
    }

    internal ArgumentList ParseArguments()
    {
        List<Expression> positional = [];
        List<(string Name, Expression Value)> named = [];
        tokens.ExpectOperator("(");
        while (!tokens.TryTakeOperator(")"))
        {
            if (tokens.IsOperator("*") || tokens.IsOperator("**"))
            {
                throw new TemplateException("unpacked arguments are not supported", tokens.Current.Line);
            }

            if (tokens.Current.Kind == TokenKind.Name && tokens.Next.Is(TokenKind.Operator, "="))
            {
                string name = tokens.Take().Text;
                tokens.Take();
                named.Add((name, Parse()));
            }
            else if (named.Count > 0)
            {
                throw new TemplateException("a positional argument follows a named one", tokens.Current.Line);
            }
            else
            {
                positional.Add(Parse());
            }

            ExpectSeparator(")");
        }

        return new ArgumentList(positional, named);
    }

    private Expression Nested(Func<Expression> parse)
    {
        tokens.Enter();
        Expression result = parse();
        tokens.Leave();
        return result;
    }

    private bool AtTupleEnd() =>
        tokens.Current.Kind is TokenKind.VariableEnd or TokenKind.BlockEnd || tokens.IsOperator(")");

    private Expression ParseConditional()
    {
        Expression result = ParseOr();
        while (tokens.IsName("if"))
        {
            int line = tokens.Take().Line;
            Expression test = ParseOr();
            Expression? otherwise = tokens.TryTakeName("else") ? Parse() : null;
            result = new ConditionalExpression(test, result, otherwise, line);
        }

        return result;
    }

    private Expression ParseOr()
    {
        Expression left = ParseAnd();
        while (tokens.IsName("or"))
        {
            int line = tokens.Take().Line;
            left = new BinaryExpression("or", left, ParseAnd(), line);
        }

        return left;
    }

    private Expression ParseAnd()
    {
        Expression left = ParseNot();
        while (tokens.IsName("and"))
        {
            int line = tokens.Take().Line;
            left = new BinaryExpression("and", left, ParseNot(), line);
        }

        return left;
    }

    private Expression ParseNot()
    {
        if (!tokens.IsName("not"))
        {
            return ParseCompare();
        }

        int line = tokens.Take().Line;
        return new UnaryExpression("not", Nested(ParseNot), line);
    }

    private Expression ParseCompare()
    {
        int line = tokens.Current.Line;
        Expression first = ParseSum();
        List<(string Operator, Expression Right)> rest = [];
        while (TryTakeCompare(out string name))
        {
            rest.Add((name, ParseSum()));
        }

        return rest.Count == 0 ? first : new CompareExpression(first, rest, line);
    }

    private bool TryTakeCompare(out string name)
    {
        name = "";
        if (tokens.Current.Kind == TokenKind.Operator && CompareOperators.Contains(tokens.Current.Text))
        {
            name = tokens.Take().Text;
        }
        else if (tokens.TryTakeName("in"))
        {
            name = "in";
        }
        else if (tokens.IsName("not") && tokens.Next.Is(TokenKind.Name, "in"))
        {
            tokens.Take();
            tokens.Take();
            name = "not in";
        }

        return name.Length > 0;
    }

    private Expression ParseSum() => ParseBinary(ParseConcat, "+", "-");

    private Expression ParseConcat()
    {
        int line = tokens.Current.Line;
        Expression first = ParseProduct();
        if (!tokens.IsOperator("~"))
        {
            return first;
        }

        List<Expression> parts = [first];
        while (tokens.TryTakeOperator("~"))
        {
            parts.Add(ParseProduct());
        }

        return new ConcatExpression(parts, line);
    }

    private Expression ParseProduct() => ParseBinary(ParsePower, "*", "/", "//", "%");

    private Expression ParsePower() => ParseBinary(() => ParseUnary(withFilter: true), "**");

    private Expression ParseBinary(Func<Expression> operand, params ReadOnlySpan<string> operators)
    {
        Expression left = operand();
        while (tokens.Current.Kind == TokenKind.Operator && operators.Contains(tokens.Current.Text))
        {
            Token token = tokens.Take();
            left = new BinaryExpression(token.Text, left, operand(), token.Line);
        }

        return left;
    }

    private Expression ParseUnary(bool withFilter)
    {
        Expression result;
        if (tokens.IsOperator("-") || tokens.IsOperator("+"))
        {
            Token token = tokens.Take();
            result = new UnaryExpression(token.Text, Nested(() => ParseUnary(withFilter: false)), token.Line);
        }
        else
        {
            result = ParsePrimary();
        }

        result = ParsePostfix(result);
        return withFilter ? ParseFiltersAndTests(result) : result;
    }

    private Expression ParseFiltersAndTests(Expression result)
    {
        while (true)
        {
            if (tokens.TryTakeOperator("|"))
            {
                result = ParseFilter(result);
            }
            else if (tokens.TryTakeName("is"))
            {
                result = ParseTest(result);
            }
            else if (tokens.IsOperator("("))
            {
                result = new CallExpression(result, ParseArguments(), tokens.Current.Line);
            }
            else
            {
                return result;
            }
        }
    }

    private TestExpression ParseTest(Expression target)
    {
        bool negated = tokens.TryTakeName("not");
        int line = tokens.Current.Line;
        string name = tokens.ExpectName();
        ArgumentList arguments = ArgumentList.Empty;
        if (tokens.IsOperator("("))
        {
            arguments = ParseArguments();
        }
        else if (StartsTestArgument())
        {
            arguments = new ArgumentList([ParsePostfix(ParsePrimary())], []);
        }

        return TestTable.IsKnown(name)
            ? new TestExpression(target, name, arguments, negated, line)
            : throw new TemplateException($"the test '{name}' is not supported", line);
    }

    private bool StartsTestArgument() => tokens.Current.Kind switch
    {
        TokenKind.Name => !NotTestArguments.Contains(tokens.Current.Text),
        TokenKind.String or TokenKind.Integer or TokenKind.Float => true,
        _ => tokens.IsOperator("[") || tokens.IsOperator("{"),
    };

    private Expression ParsePostfix(Expression result)
    {
        while (true)
        {
            int line = tokens.Current.Line;
            if (tokens.TryTakeOperator("."))
            {
                result = ParseAttribute(result, line);
            }
            else if (tokens.TryTakeOperator("["))
            {
                result = ParseSubscript(result, line);
            }
            else if (tokens.IsOperator("("))
            {
                result = new CallExpression(result, ParseArguments(), line);
            }
            else
            {
                return result;
            }
        }
    }

    private Expression ParseAttribute(Expression target, int line) =>
        tokens.Current.Kind == TokenKind.Integer
            ? new SubscriptExpression(target, ParsePrimary(), line)
            : new AttributeExpression(target, tokens.ExpectName(), line);

    private Expression ParseSubscript(Expression target, int line)
    {
        Expression? start = tokens.IsOperator(":") ? null : Parse();
        if (start is not null && tokens.TryTakeOperator("]"))
        {
            return new SubscriptExpression(target, start, line);
        }

        tokens.ExpectOperator(":");
        Expression? stop = tokens.IsOperator(":") || tokens.IsOperator("]") ? null : Parse();
        Expression? step = tokens.TryTakeOperator(":") && !tokens.IsOperator("]") ? Parse() : null;
        tokens.ExpectOperator("]");
        return new SliceExpression(target, start, stop, step, line);
    }

    private Expression ParsePrimary()
    {
        Token token = tokens.Take();
        return token.Kind switch
        {
            TokenKind.Name => ParseName(token),
            TokenKind.String => ParseString(token),
            TokenKind.Integer => ParseInteger(token),
            TokenKind.Float => new LiteralExpression(
                double.Parse(token.Text, CultureInfo.InvariantCulture), token.Line),
            TokenKind.Operator when token.Text == "(" => ParseParentheses(token.Line),
            TokenKind.Operator when token.Text == "[" => ParseList(token.Line),
            TokenKind.Operator when token.Text == "{" => ParseMap(token.Line),
            _ => throw new TemplateException($"expected an expression but found {token.Describe()}", token.Line),
        };
    }

    private static Expression ParseName(Token token) => token.Text switch
    {
        "true" or "True" => new LiteralExpression(true, token.Line),
        "false" or "False" => new LiteralExpression(false, token.Line),
        "none" or "None" => new LiteralExpression(null, token.Line),
        _ => new NameExpression(token.Text, token.Line),
    };

    // Neighbouring strings are one.
    private LiteralExpression ParseString(Token token)
    {
        string text = token.Text;
        while (tokens.Current.Kind == TokenKind.String)
        {
            text += tokens.Take().Text;
        }

        return new LiteralExpression(text, token.Line);
    }

    private static LiteralExpression ParseInteger(Token token) =>
        long.TryParse(token.Text, NumberStyles.None, CultureInfo.InvariantCulture, out long value)
            ? new LiteralExpression(value, token.Line)
            : throw new TemplateException($"the number {token.Text} is too large", token.Line);

    private Expression ParseParentheses(int line)
    {
        if (tokens.TryTakeOperator(")"))
        {
            return new ListExpression([], IsTuple: true, line);
        }

        Expression result = ParseTuple();
        tokens.ExpectOperator(")");
        return result;
    }

    private ListExpression ParseList(int line)
    {
        List<Expression> items = [];
        while (!tokens.TryTakeOperator("]"))
        {
            items.Add(Parse());
            ExpectSeparator("]");
        }

        return new ListExpression(items, IsTuple: false, line);
    }

    private MapExpression ParseMap(int line)
    {
        List<(Expression Key, Expression Value)> items = [];
        while (!tokens.TryTakeOperator("}"))
        {
            Expression key = Parse();
            tokens.ExpectOperator(":");
            items.Add((key, Parse()));
            ExpectSeparator("}");
        }

        return new MapExpression(items, line);
    }

    // A comma, or the closing bracket, which stays.
    private void ExpectSeparator(string close)
    {
        if (!tokens.TryTakeOperator(",") && !tokens.IsOperator(close))
        {
            throw tokens.Unexpected($"',' or '{close}'");
        }
    }
}
