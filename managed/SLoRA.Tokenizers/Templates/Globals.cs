// The functions every template may call.

using System.Diagnostics.CodeAnalysis;

namespace SLoRA.Tokenizers.Templates;

internal static class Globals
{
    private static readonly Dictionary<string, TemplateCallable> Functions = new(StringComparer.Ordinal)
    {
        ["range"] = new TemplateFunction("range", Range),
        ["namespace"] = new TemplateFunction("namespace", MakeNamespace),
        ["dict"] = new TemplateFunction("dict", (arguments, evaluator) => MakeMap(arguments)),
        ["raise_exception"] = new TemplateFunction("raise_exception", Raise),
        ["strftime_now"] = new TemplateFunction("strftime_now", (arguments, evaluator) =>
            TimeFormat.Format(evaluator.Time.GetLocalNow(), arguments.Text(0, "format"), arguments.Line)),
    };

    internal static bool TryGet(string name, [NotNullWhen(true)] out TemplateCallable? function) =>
        Functions.TryGetValue(name, out function);

    private static object? Raise(Arguments arguments, Evaluator evaluator) =>
        throw TemplateException.FromTemplate(
            Values.ToText(arguments.Value(0, "message", ""), arguments.Line), arguments.Line);

    private static List<object?> Range(Arguments arguments, Evaluator evaluator)
    {
        int count = arguments.Positional.Count;
        long start = count > 1 ? arguments.Integer(0, "start", 0) : 0;
        long stop = arguments.Integer(count > 1 ? 1 : 0, "stop", 0);
        long step = arguments.Integer(2, "step", 1);
        if (step == 0 || count is 0 or > 3)
        {
            throw arguments.Fail("needs one to three numbers, and a step that is not 0");
        }

        List<object?> items = [];
        for (long at = start; step > 0 ? at < stop : at > stop; at += step)
        {
            evaluator.Budget.Step(arguments.Line);
            items.Add(at);
            // The next value may not exist in 64 bits.
            if (step > 0 ? at > long.MaxValue - step : at < long.MinValue - step)
            {
                break;
            }
        }

        return items;
    }

    private static TemplateNamespace MakeNamespace(Arguments arguments, Evaluator evaluator)
    {
        TemplateNamespace result = new();
        foreach ((object key, object? value) in MakeMap(arguments))
        {
            result.Fields[(string)key] = value;
        }

        return result;
    }

    private static TemplateMap MakeMap(Arguments arguments)
    {
        TemplateMap map = [];
        if (arguments.Positional.Count > 0)
        {
            if (arguments.Positional[0] is not TemplateMap source || source.Keys.Any(key => key is not string))
            {
                throw arguments.Fail("needs a dictionary with text keys");
            }

            foreach ((object key, object? value) in source)
            {
                map[key] = value;
            }
        }

        foreach ((string key, object? value) in arguments.Named)
        {
            map[key] = value;
        }

        return map;
    }
}
