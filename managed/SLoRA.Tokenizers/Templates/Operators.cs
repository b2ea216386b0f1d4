// Arithmetic, comparison and membership, by Python's rules. Numbers are 64-bit; overflow is an error.

namespace SLoRA.Tokenizers.Templates;

internal static class Operators
{
    internal static object Sign(string name, object? operand, int line) => operand switch
    {
        // The cast keeps whole numbers whole: without it all arms would become double.
        double number => (object)(name == "-" ? -number : number),
        long or bool => Integer(name, 0, Values.ToInteger(operand), line),
        Undefined undefined => throw undefined.Fail(line),
        _ => throw new TemplateException($"'{name}' does not take a value of type {Values.TypeName(operand)}", line),
    };

    internal static object? Apply(string name, object? left, object? right, int line, Budget budget)
    {
        if (Values.TryNumber(left, out double a) && Values.TryNumber(right, out double b))
        {
            return left is double || right is double || name == "/"
                ? (object)Real(name, a, b, line)
                : Integer(name, Values.ToInteger(left), Values.ToInteger(right), line);
        }

        return (name, left, right) switch
        {
            (_, Undefined undefined, _) => throw undefined.Fail(line),
            (_, _, Undefined undefined) => throw undefined.Fail(line),
            ("+", string x, string y) => Join(x, y, line, budget),
            ("+", List<object?> x, List<object?> y) => x.Concat(y).ToList(),
            ("+", object?[] x, object?[] y) => x.Concat(y).ToArray(),
            ("*", string text, long or bool) => Repeat(text, Values.ToInteger(right), line, budget),
            ("*", long or bool, string text) => Repeat(text, Values.ToInteger(left), line, budget),
            ("*", List<object?> list, long or bool) => Repeat(list, Values.ToInteger(right), line, budget),
            _ => throw new TemplateException(
                $"'{name}' does not take values of types {Values.TypeName(left)} and {Values.TypeName(right)}", line),
        };
    }

    internal static bool Compare(string name, object? left, object? right, int line) => name switch
    {
        "==" => Values.AreEqual(left, right, line),
        "!=" => !Values.AreEqual(left, right, line),
        "<" => Values.Compare(left, right, line) < 0,
        "<=" => Values.Compare(left, right, line) <= 0,
        ">" => Values.Compare(left, right, line) > 0,
        ">=" => Values.Compare(left, right, line) >= 0,
        "in" => Contains(right, left, line),
        _ => !Contains(right, left, line),
    };

    internal static bool Contains(object? container, object? item, int line) => (container, item) switch
    {
        (string text, string part) => text.Contains(part, StringComparison.Ordinal),
        (string, Undefined undefined) => throw undefined.Fail(line),
        (IReadOnlyList<object?> list, _) => list.Any(other => Values.AreEqual(other, item, line)),
        (TemplateMap map, _) => item is not null && map.ContainsKey(item),
        (Undefined, _) => false,
        _ => throw new TemplateException(
            $"'in' does not take values of types {Values.TypeName(item)} and {Values.TypeName(container)}", line),
    };

    private static string Join(string x, string y, int line, Budget budget)
    {
        budget.Text((long)x.Length + y.Length, line);
        return x + y;
    }

    private static string Repeat(string text, long count, int line, Budget budget)
    {
        count = text.Length == 0 ? 0 : Math.Max(0, Math.Min(count, int.MaxValue));
        budget.Text(text.Length * count, line);
        return string.Concat(Enumerable.Repeat(text, (int)count));
    }

    private static List<object?> Repeat(List<object?> list, long count, int line, Budget budget)
    {
        count = list.Count == 0 ? 0 : Math.Max(0, Math.Min(count, int.MaxValue));
        budget.Step(line, list.Count * count);
        return [.. Enumerable.Repeat(list, (int)count).SelectMany(item => item)];
    }

    private static double Real(string name, double a, double b, int line) => name switch
    {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "**" => Math.Pow(a, b),
        _ when b == 0 => throw new TemplateException("division by zero", line),
        "/" => a / b,
        "//" => Math.Floor(a / b),
        _ => a - (Math.Floor(a / b) * b),
    };

    private static object Integer(string name, long a, long b, int line)
    {
        try
        {
            return name switch
            {
                // The cast keeps whole numbers whole: without it all arms would become double.
                "+" => (object)checked(a + b),
                "-" => checked(a - b),
                "*" => checked(a * b),
                "**" => b < 0 ? Math.Pow(a, b) : (object)Power(a, b),
                _ when b == 0 => throw new TemplateException("division by zero", line),
                "//" => FloorDivide(a, b),
                _ => checked(a - (FloorDivide(a, b) * b)),
            };
        }
        catch (OverflowException e)
        {
            throw new TemplateException($"chat template, line {line}: '{name}' gives a number beyond 64 bits", e);
        }
    }

    private static long FloorDivide(long a, long b)
    {
        // The one quotient that has no 64-bit value.
        if (b == -1)
        {
            return checked(-a);
        }

        long quotient = a / b;
        return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
    }

    private static long Power(long a, long exponent)
    {
        long result = 1;
        while (exponent > 0)
        {
            result = (exponent & 1) == 1 ? checked(result * a) : result;
            exponent >>= 1;
            a = exponent > 0 ? checked(a * a) : a;
        }

        return result;
    }
}
