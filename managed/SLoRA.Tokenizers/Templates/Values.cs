// The values of templates and what Python says of them: truth, text, equality, order. A value is null (None), bool,
// long, double, string, List (list), object?[] (tuple), TemplateMap (dict), TemplateNamespace, TemplateCallable or
// Undefined.

using System.Globalization;
using System.Text;

namespace SLoRA.Tokenizers.Templates;

// A dict, in order of insertion.
internal sealed class TemplateMap : OrderedDictionary<object, object?>;

// namespace(): the one value whose attributes templates may set.
internal sealed class TemplateNamespace
{
    internal Dictionary<string, object?> Fields { get; } = new(StringComparer.Ordinal);
}

// What a missing name or attribute gives: false, empty as text, and an error when used further.
internal sealed record Undefined(string What)
{
    internal TemplateException Fail(int line) => new($"{What} is undefined", line);
}

// A function, method or macro.
internal abstract class TemplateCallable(string name)
{
    internal string Name { get; } = name;

    internal abstract object? Call(Arguments arguments, Evaluator evaluator);
}

internal sealed class TemplateFunction(string name, Func<Arguments, Evaluator, object?> body) : TemplateCallable(name)
{
    internal override object? Call(Arguments arguments, Evaluator evaluator) => body(arguments, evaluator);
}

internal static class Values
{
    // Values nest as deep as a template builds them; walking them must not exhaust the stack.
    private const int MaxValueDepth = 200;

    internal static bool IsTrue(object? value) => value switch
    {
        null or Undefined => false,
        bool flag => flag,
        long number => number != 0,
        double number => number != 0,
        string text => text.Length > 0,
        IReadOnlyCollection<object?> list => list.Count > 0,
        TemplateMap map => map.Count > 0,
        _ => true,
    };

    internal static string TypeName(object? value) => value switch
    {
        null => "none",
        bool => "boolean",
        long => "integer",
        double => "float",
        string => "string",
        List<object?> => "list",
        object?[] => "tuple",
        TemplateMap => "dictionary",
        Undefined => "undefined",
        TemplateCallable => "function",
        _ => "namespace",
    };

    // str(): what {{ }} prints.
    internal static string ToText(object? value, int line)
    {
        if (value is string text)
        {
            return text;
        }

        StringBuilder output = new();
        WriteRepr(value, output, MaxValueDepth, line);
        return output.ToString();
    }

    internal static bool AreEqual(object? left, object? right, int line, int depth = MaxValueDepth)
    {
        if (depth == 0)
        {
            throw TooDeep(line);
        }

        if (TryNumber(left, out double a) && TryNumber(right, out double b))
        {
            return left is long or bool && right is long or bool ? ToInteger(left) == ToInteger(right) : a == b;
        }

        return (left, right) switch
        {
            (null, null) => true,
            (string x, string y) => string.Equals(x, y, StringComparison.Ordinal),
            (List<object?> x, List<object?> y) => AreSequencesEqual(x, y, line, depth),
            (object?[] x, object?[] y) => AreSequencesEqual(x, y, line, depth),
            (TemplateMap x, TemplateMap y) => x.Count == y.Count && x.All(item =>
                y.TryGetValue(item.Key, out object? other) && AreEqual(item.Value, other, line, depth - 1)),
            (Undefined, Undefined) => true,
            _ => ReferenceEquals(left, right),
        };
    }

    internal static int Compare(object? left, object? right, int line)
    {
        if (TryNumber(left, out double a) && TryNumber(right, out double b))
        {
            return left is double || right is double ? a.CompareTo(b) : ToInteger(left).CompareTo(ToInteger(right));
        }

        return (left, right) switch
        {
            (string x, string y) => string.CompareOrdinal(x, y),
            (Undefined undefined, _) => throw undefined.Fail(line),
            (_, Undefined undefined) => throw undefined.Fail(line),
            (List<object?> x, List<object?> y) => CompareSequences(x, y, line),
            (object?[] x, object?[] y) => CompareSequences(x, y, line),
            _ => throw new TemplateException(
                $"a value of type {TypeName(left)} cannot be ordered against one of type {TypeName(right)}", line),
        };
    }

    // Booleans are numbers, as in Python.
    internal static bool TryNumber(object? value, out double number)
    {
        number = value switch
        {
            long integer => integer,
            double real => real,
            bool flag => flag ? 1 : 0,
            _ => double.NaN,
        };
        return value is long or double or bool;
    }

    internal static long ToInteger(object? value) => value is bool flag ? (flag ? 1 : 0) : (long)value!;

    // repr of a float: the shortest digits that give it back, with an exponent from 1e16 on and below 1e-4.
    internal static string FloatText(double value)
    {
        if (double.IsNaN(value))
        {
            return "nan";
        }

        if (double.IsInfinity(value))
        {
            return value > 0 ? "inf" : "-inf";
        }

        // value = 0.DIGITS × 10^point
        string shortest = Math.Abs(value).ToString("R", CultureInfo.InvariantCulture);
        string[] parts = shortest.Split('E');
        string[] mantissa = parts[0].Split('.');
        string digits = mantissa[0] + (mantissa.Length > 1 ? mantissa[1] : "");
        int point = mantissa[0].Length + (parts.Length > 1 ? int.Parse(parts[1], CultureInfo.InvariantCulture) : 0);
        point -= digits.Length - digits.TrimStart('0').Length;
        digits = digits.Trim('0');
        string sign = double.IsNegative(value) ? "-" : "";
        if (digits.Length == 0)
        {
            return sign + "0.0";
        }

        if (point is <= -4 or > 16)
        {
            string rest = digits.Length > 1 ? "." + digits[1..] : "";
            int exponent = point - 1;
            return $"{sign}{digits[0]}{rest}e{(exponent < 0 ? '-' : '+')}"
                + Math.Abs(exponent).ToString("00", CultureInfo.InvariantCulture);
        }

        string whole = point <= 0 ? "0" : digits.PadRight(point, '0')[..point];
        string fraction = point <= 0 ? new string('0', -point) + digits : digits.PadRight(point, '0')[point..];
        return $"{sign}{whole}.{(fraction.Length == 0 ? "0" : fraction)}";
    }

    private static bool AreSequencesEqual(IReadOnlyList<object?> x, IReadOnlyList<object?> y, int line, int depth)
    {
        if (x.Count != y.Count)
        {
            return false;
        }

        for (int i = 0; i < x.Count; i++)
        {
            if (!AreEqual(x[i], y[i], line, depth - 1))
            {
                return false;
            }
        }

        return true;
    }

    private static int CompareSequences(IReadOnlyList<object?> x, IReadOnlyList<object?> y, int line)
    {
        for (int i = 0; i < Math.Min(x.Count, y.Count); i++)
        {
            if (!AreEqual(x[i], y[i], line))
            {
                // One level is enough for sort keys; deeper ones would recurse without a bound.
                return x[i] is List<object?> or object?[]? throw new TemplateException("nested lists cannot be ordered", line)
                    : Compare(x[i], y[i], line);
            }
        }

        return x.Count.CompareTo(y.Count);
    }

    private static TemplateException TooDeep(int line) => new("a value is nested too deep", line);

    private static void WriteRepr(object? value, StringBuilder output, int depth, int line)
    {
        if (depth == 0)
        {
            throw TooDeep(line);
        }

        switch (value)
        {
            case null:
                output.Append("None");
                break;
            case bool flag:
                output.Append(flag ? "True" : "False");
                break;
            case long number:
                output.Append(CultureInfo.InvariantCulture, $"{number}");
                break;
            case double number:
                output.Append(FloatText(number));
                break;
            case string text:
                WriteQuoted(text, output);
                break;
            case List<object?> list:
                WriteItems('[', list, ']', output, depth, line);
                break;
            case object?[] tuple:
                WriteItems('(', tuple, ')', output, depth, line);
                break;
            case TemplateMap map:
                WriteMap(map, output, depth, line);
                break;
            case Undefined:
                break;
            case TemplateCallable callable:
                output.Append(CultureInfo.InvariantCulture, $"<function {callable.Name}>");
                break;
            default:
                output.Append("<namespace>");
                break;
        }
    }

    private static void WriteItems(
        char open, IReadOnlyList<object?> items, char close, StringBuilder output, int depth, int line)
    {
        output.Append(open);
        for (int i = 0; i < items.Count; i++)
        {
            output.Append(i > 0 ? ", " : "");
            WriteRepr(items[i], output, depth - 1, line);
        }

        output.Append(open == '(' && items.Count == 1 ? "," : "").Append(close);
    }

    private static void WriteMap(TemplateMap map, StringBuilder output, int depth, int line)
    {
        output.Append('{');
        bool first = true;
        foreach ((object key, object? value) in map)
        {
            output.Append(first ? "" : ", ");
            first = false;
            WriteRepr(key, output, depth - 1, line);
            output.Append(": ");
            WriteRepr(value, output, depth - 1, line);
        }

        output.Append('}');
    }

    // Single quotes unless that needs an escape and double quotes do not.
    private static void WriteQuoted(string text, StringBuilder output)
    {
        char quote = text.Contains('\'', StringComparison.Ordinal) && !text.Contains('"', StringComparison.Ordinal) ? '"' : '\'';
        output.Append(quote);
        foreach (char c in text)
        {
            string? escape = c switch
            {
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                < ' ' or '\x7F' => $"\\x{(int)c:x2}",
                _ => c == quote ? "\\" + c : null,
            };
            output.Append(escape ?? c.ToString());
        }

        output.Append(quote);
    }
}
