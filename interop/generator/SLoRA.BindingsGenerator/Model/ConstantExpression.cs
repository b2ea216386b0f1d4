// Evaluates the constant expressions of macros: literals, names of other macros and enum constants, casts, parentheses
// and + - * << |. What it cannot read is not a number (SLORA_API), and the caller decides whether that is an error.

using System.Globalization;

namespace SLoRA.BindingsGenerator.Model;

/// <summary>A number and whether the header casts it to uint32_t.</summary>
internal readonly record struct ConstantValue(decimal Value, bool IsUnsigned, bool IsFloat);

internal sealed class ConstantExpression
{
    private static readonly string[][] s_operatorsByPrecedence = [["|"], ["<<"], ["+", "-"], ["*"]];

    private readonly HeaderModel _model;
    private readonly IReadOnlyList<string> _tokens;
    private int _next;

    private ConstantExpression(HeaderModel model, IReadOnlyList<string> tokens) => (_model, _tokens) = (model, tokens);

    /// <summary>The value of <paramref name="tokens"/>, or null if they are not a number.</summary>
    public static ConstantValue? TryEvaluate(HeaderModel model, IReadOnlyList<string> tokens)
    {
        ConstantExpression expression = new(model, tokens);
        ConstantValue? value = expression.Binary(0);
        return expression._next == tokens.Count ? value : null;
    }

    private string Peek() => _next < _tokens.Count ? _tokens[_next] : "";

    private ConstantValue? Binary(int precedence)
    {
        if (precedence == s_operatorsByPrecedence.Length)
        {
            return Unary();
        }

        ConstantValue? left = Binary(precedence + 1);
        while (left is not null && s_operatorsByPrecedence[precedence].Contains(Peek()))
        {
            string operation = _tokens[_next++];
            left = Binary(precedence + 1) is { } right ? Apply(left.Value, operation, right) : null;
        }

        return left;
    }

    private static ConstantValue Apply(ConstantValue left, string operation, ConstantValue right)
    {
        decimal value = operation switch
        {
            "|" => (long)left.Value | (long)right.Value,
            "<<" => (long)left.Value << (int)right.Value,
            "+" => left.Value + right.Value,
            "-" => left.Value - right.Value,
            _ => left.Value * right.Value,
        };
        return new ConstantValue(value, left.IsUnsigned || right.IsUnsigned, left.IsFloat || right.IsFloat);
    }

    private ConstantValue? Unary()
    {
        string token = Peek();
        _next++;
        return token switch
        {
            "" => null,
            "-" => Unary() is { } operand ? operand with { Value = -operand.Value } : null,
            "(" => Cast() ?? Parenthesised(),
            _ when char.IsAsciiDigit(token[0]) => Literal(token),
            _ => Name(token),
        };
    }

    private ConstantValue? Cast()
    {
        if (Peek() is not ("uint32_t" or "int32_t" or "uint64_t"))
        {
            return null;
        }

        bool isUnsigned = Peek()[0] == 'u';
        _next += 2; // The type and its closing parenthesis.
        return Unary() is { } operand ? operand with { IsUnsigned = isUnsigned } : null;
    }

    private ConstantValue? Parenthesised()
    {
        ConstantValue? inner = Binary(0);
        return Peek() == ")" && _next++ >= 0 ? inner : null;
    }

    private static ConstantValue? Literal(string token)
    {
        bool isHex = token.StartsWith("0x", StringComparison.OrdinalIgnoreCase);
        string digits = isHex ? token[2..].TrimEnd('u', 'U', 'l', 'L') : token.TrimEnd('u', 'U', 'l', 'L', 'f', 'F');
        bool isUnsigned = token.Contains('u', StringComparison.OrdinalIgnoreCase);
        if (isHex)
        {
            return long.TryParse(digits, NumberStyles.HexNumber, CultureInfo.InvariantCulture, out long value)
                ? new ConstantValue(value, isUnsigned, false)
                : null;
        }

        return decimal.TryParse(digits, NumberStyles.Float, CultureInfo.InvariantCulture, out decimal number)
            ? new ConstantValue(number, isUnsigned, token.Contains('.', StringComparison.Ordinal))
            : null;
    }

    private ConstantValue? Name(string token)
    {
        EnumConstantDecl? constant = _model.Enums.SelectMany(e => e.Constants).FirstOrDefault(c => c.Name == token);
        if (constant is not null)
        {
            return new ConstantValue(constant.Value, false, false);
        }

        return _model.FindMacro(token) is { Tokens.Count: > 0 } macro ? TryEvaluate(_model, macro.Tokens) : null;
    }
}
