// The tests behind `is`, by name.

namespace SLoRA.Tokenizers.Templates;

internal delegate bool TestFunction(object? target, Arguments arguments);

internal static class TestTable
{
    private static readonly Dictionary<string, TestFunction> Tests = new(StringComparer.Ordinal)
    {
        ["defined"] = (target, _) => target is not Undefined,
        ["undefined"] = (target, _) => target is Undefined,
        ["none"] = (target, _) => target is null,
        ["string"] = (target, _) => target is string,
        ["mapping"] = (target, _) => target is TemplateMap,
        ["sequence"] = (target, _) => target is string or IReadOnlyList<object?> or TemplateMap or Undefined,
        ["iterable"] = (target, _) => target is string or IReadOnlyList<object?> or TemplateMap or Undefined,
        ["number"] = (target, _) => target is long or double or bool,
        ["integer"] = (target, _) => target is long,
        ["float"] = (target, _) => target is double,
        ["boolean"] = (target, _) => target is bool,
        ["true"] = (target, _) => target is true,
        ["false"] = (target, _) => target is false,
        ["callable"] = (target, _) => target is TemplateCallable,
        ["odd"] = (target, arguments) => Remainder(target, 2, arguments) == 1,
        ["even"] = (target, arguments) => Remainder(target, 2, arguments) == 0,
        ["divisibleby"] = (target, arguments) => Remainder(target, arguments.Integer(0, "num", 0), arguments) == 0,
        ["lower"] = (target, arguments) => Values.ToText(target, arguments.Line) is var text && IsCase(text, char.IsUpper, char.IsLower),
        ["upper"] = (target, arguments) => Values.ToText(target, arguments.Line) is var text && IsCase(text, char.IsLower, char.IsUpper),
        ["sameas"] = (target, arguments) => IsSame(target, arguments.Required(0, "other")),
        ["in"] = (target, arguments) => Operators.Contains(arguments.Required(0, "seq"), target, arguments.Line),
        ["equalto"] = Compare("=="),
        ["eq"] = Compare("=="),
        ["=="] = Compare("=="),
        ["ne"] = Compare("!="),
        ["!="] = Compare("!="),
        ["lt"] = Compare("<"),
        ["<"] = Compare("<"),
        ["lessthan"] = Compare("<"),
        ["le"] = Compare("<="),
        ["<="] = Compare("<="),
        ["gt"] = Compare(">"),
        [">"] = Compare(">"),
        ["greaterthan"] = Compare(">"),
        ["ge"] = Compare(">="),
        [">="] = Compare(">="),
    };

    internal static bool IsKnown(string name) => Tests.ContainsKey(name);

    internal static TestFunction Get(string name, int line) =>
        Tests.TryGetValue(name, out TestFunction? test)
            ? test
            : throw new TemplateException($"the test '{name}' is not supported", line);

    private static TestFunction Compare(string name) =>
        (target, arguments) => Operators.Compare(name, target, arguments.Required(0, "other"), arguments.Line);

    private static long Remainder(object? target, long divisor, Arguments arguments)
    {
        if (target is not (long or bool) || divisor == 0)
        {
            throw arguments.Fail("needs whole numbers, and a divisor that is not 0");
        }

        // Negative numbers too are odd or even; −1 divides everything, and its remainder must not overflow.
        return divisor == -1 ? 0 : Math.Abs(Values.ToInteger(target) % divisor);
    }

    private static bool IsCase(string text, Func<char, bool> forbidden, Func<char, bool> needed) =>
        !text.Any(forbidden) && text.Any(needed);

    private static bool IsSame(object? left, object? right) => (left, right) switch
    {
        (null, null) => true,
        (bool x, bool y) => x == y,
        (long x, long y) => x == y,
        (string x, string y) => string.Equals(x, y, StringComparison.Ordinal),
        _ => ReferenceEquals(left, right),
    };
}
