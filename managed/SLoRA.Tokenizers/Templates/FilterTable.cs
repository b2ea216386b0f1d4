// The filters by name. Those on text are in TextFilters, those on lists in ListFilters.

using System.Globalization;

namespace SLoRA.Tokenizers.Templates;

internal delegate object? FilterFunction(object? target, Arguments arguments, Evaluator evaluator);

internal static class FilterTable
{
    private const int MaxJsonIndent = 64;
    private const int MaxPrecision = 30;

    private static readonly Dictionary<string, FilterFunction> Filters = new(StringComparer.Ordinal)
    {
        ["trim"] = TextFilters.Trim,
        ["upper"] = TextFilters.Map(PythonText.Upper),
        ["lower"] = TextFilters.Map(PythonText.Lower),
        ["title"] = TextFilters.Map(PythonText.TitleFilter),
        ["capitalize"] = TextFilters.Map(PythonText.Capitalize),
        ["string"] = TextFilters.Map(text => text),
        ["safe"] = TextFilters.Map(text => text),
        ["replace"] = TextFilters.Replace,
        ["indent"] = TextFilters.Indent,
        ["escape"] = TextFilters.Map(TextFilters.Escape),
        ["e"] = TextFilters.Map(TextFilters.Escape),
        ["wordcount"] = (target, arguments, _) =>
            (long)Values.ToText(target, arguments.Line).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length,
        ["tojson"] = ToJson,
        ["length"] = Length,
        ["count"] = Length,
        ["default"] = Default,
        ["d"] = Default,
        ["int"] = Int,
        ["float"] = Float,
        ["abs"] = (target, arguments, _) => target switch
        {
            // The cast keeps whole numbers whole.
            double number => (object)Math.Abs(number),
            long number when number != long.MinValue => Math.Abs(number),
            _ => throw arguments.Fail("needs a number"),
        },
        ["round"] = Round,
        ["attr"] = (target, arguments, _) => Members.Attribute(target, arguments.Text(0, "name"), arguments.Line),
        ["join"] = ListFilters.Join,
        ["first"] = ListFilters.First,
        ["last"] = ListFilters.Last,
        ["list"] = (target, arguments, evaluator) => evaluator.Items(target, arguments.Line).ToList(),
        ["reverse"] = ListFilters.Reverse,
        ["sort"] = ListFilters.Sort,
        ["unique"] = ListFilters.Unique,
        ["sum"] = ListFilters.Sum,
        ["min"] = (target, arguments, evaluator) => ListFilters.Extreme(target, arguments, evaluator, -1),
        ["max"] = (target, arguments, evaluator) => ListFilters.Extreme(target, arguments, evaluator, 1),
        ["map"] = ListFilters.Map,
        ["select"] = (target, arguments, evaluator) => ListFilters.Select(target, arguments, evaluator, false, true),
        ["reject"] = (target, arguments, evaluator) => ListFilters.Select(target, arguments, evaluator, false, false),
        ["selectattr"] = (target, arguments, evaluator) => ListFilters.Select(target, arguments, evaluator, true, true),
        ["rejectattr"] = (target, arguments, evaluator) => ListFilters.Select(target, arguments, evaluator, true, false),
        ["items"] = ListFilters.Items,
        ["dictsort"] = ListFilters.DictSort,
    };

    internal static bool IsKnown(string name) => Filters.ContainsKey(name);

    internal static FilterFunction Get(string name, int line) =>
        Filters.TryGetValue(name, out FilterFunction? filter)
            ? filter
            : throw new TemplateException($"the filter '{name}' is not supported", line);

    private static object Length(object? target, Arguments arguments, Evaluator evaluator) => target switch
    {
        string text => (object)(long)PythonText.Length(text),
        IReadOnlyCollection<object?> list => (long)list.Count,
        TemplateMap map => (long)map.Count,
        Undefined => 0L,
        _ => throw arguments.Fail($"does not take a value of type {Values.TypeName(target)}"),
    };

    private static object? Default(object? target, Arguments arguments, Evaluator evaluator)
    {
        bool missing = target is Undefined || (arguments.Flag(1, "boolean", false) && !Values.IsTrue(target));
        return missing ? arguments.Value(0, "default_value", "") : target;
    }

    private static object? Int(object? target, Arguments arguments, Evaluator evaluator)
    {
        object? fallback = arguments.Value(0, "default", 0L);
        return target switch
        {
            long or bool => Values.ToInteger(target),
            double number => Whole(number, fallback),
            string text when long.TryParse(
                PythonText.Trim(text), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number) => number,
            string text when TryFloat(text, out double number) => Whole(number, fallback),
            _ => fallback,
        };
    }

    private static object? Whole(double number, object? fallback) =>
        Math.Abs(number) < 9.2e18 ? (long)Math.Truncate(number) : fallback;

    private static object? Float(object? target, Arguments arguments, Evaluator evaluator) => target switch
    {
        string text when TryFloat(text, out double number) => number,
        _ when Values.TryNumber(target, out double number) => number,
        _ => arguments.Value(0, "default", 0.0),
    };

    private static bool TryFloat(string text, out double number) =>
        double.TryParse(PythonText.Trim(text), NumberStyles.Float, CultureInfo.InvariantCulture, out number);

    private static object? Round(object? target, Arguments arguments, Evaluator evaluator)
    {
        if (!Values.TryNumber(target, out double number))
        {
            throw arguments.Fail("needs a number");
        }

        int precision = (int)Math.Clamp(arguments.Integer(0, "precision", 0), -MaxPrecision, MaxPrecision);
        double factor = Math.Pow(10, precision);
        string method = arguments.OptionalText(1, "method") ?? "common";
        return method switch
        {
            "common" when target is long => target,
            "common" => RoundDecimal(number, precision),
            "ceil" => Math.Ceiling(number * factor) / factor,
            "floor" => Math.Floor(number * factor) / factor,
            _ => throw arguments.Fail("needs common, ceil or floor as 'method'"),
        };
    }

    // Python rounds the exact decimal value (42.55 is a little less than that) and halves to even.
    private static double RoundDecimal(double number, int precision)
    {
        if (precision <= 0 || !double.IsFinite(number))
        {
            double factor = Math.Pow(10, -precision);
            return Math.Round(number / factor, MidpointRounding.ToEven) * factor;
        }

        string digits = number.ToString("F" + precision.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
        return double.Parse(digits, CultureInfo.InvariantCulture);
    }

    private static string ToJson(object? target, Arguments arguments, Evaluator evaluator)
    {
        bool ascii = arguments.Flag(0, "ensure_ascii", false);
        string? indent = arguments.Value(1, "indent", null) switch
        {
            null => null,
            long width and >= 0 and <= MaxJsonIndent => new string(' ', (int)width),
            string text => text,
            _ => throw arguments.Fail($"needs a number in 0 … {MaxJsonIndent} or a string as 'indent'"),
        };
        (string item, string key) = Separators(arguments, indent is null ? ", " : ",");
        JsonText json = new(indent, item, key, ascii, arguments.Flag(3, "sort_keys", false), arguments.Line);
        return json.Write(target, evaluator.Budget);
    }

    private static (string Item, string Key) Separators(Arguments arguments, string item) =>
        arguments.Value(2, "separators", null) switch
        {
            null => (item, ": "),
            IReadOnlyList<object?> { Count: 2 } pair when pair[0] is string first && pair[1] is string second =>
                (first, second),
            _ => throw arguments.Fail("needs two strings as 'separators'"),
        };
}
