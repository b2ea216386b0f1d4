// The methods of strings, lists and dictionaries, found by name and bound to their value.

namespace SLoRA.Tokenizers.Templates;

internal static class Methods
{
    private static readonly Dictionary<string, Func<string, Arguments, Evaluator, object?>> OfText = new(StringComparer.Ordinal)
    {
        ["startswith"] = (text, a, _) => Any(a, part => text.StartsWith(part, StringComparison.Ordinal)),
        ["endswith"] = (text, a, _) => Any(a, part => text.EndsWith(part, StringComparison.Ordinal)),
        ["strip"] = (text, a, _) => PythonText.Trim(text, a.OptionalText(0, "chars")),
        ["lstrip"] = (text, a, _) => PythonText.TrimStart(text, a.OptionalText(0, "chars")),
        ["rstrip"] = (text, a, _) => PythonText.TrimEnd(text, a.OptionalText(0, "chars")),
        ["upper"] = (text, _, _) => PythonText.Upper(text),
        ["lower"] = (text, _, _) => PythonText.Lower(text),
        ["title"] = (text, _, _) => PythonText.Title(text),
        ["capitalize"] = (text, _, _) => PythonText.Capitalize(text),
        ["split"] = TextSplit.Split,
        ["rsplit"] = TextSplit.SplitFromEnd,
        ["splitlines"] = (text, _, _) => Objects(PythonText.SplitLines(text)),
        ["partition"] = (text, a, _) => TextSplit.Partition(text, a, fromEnd: false),
        ["rpartition"] = (text, a, _) => TextSplit.Partition(text, a, fromEnd: true),
        ["join"] = (text, a, e) => ListFilters.Join(a.Required(0, "iterable"), new Arguments("join", [text], a.Named, a.Line), e),
        ["replace"] = (text, a, e) => TextFilters.ReplaceText(
            text, a.Text(0, "old"), a.Text(1, "new"), a.Integer(2, "count", -1), a.Line, e),
        ["find"] = (text, a, _) => Position(text, text.IndexOf(a.Text(0, "sub"), StringComparison.Ordinal)),
        ["rfind"] = (text, a, _) => Position(text, text.LastIndexOf(a.Text(0, "sub"), StringComparison.Ordinal)),
        ["index"] = (text, a, _) => text.IndexOf(a.Text(0, "sub"), StringComparison.Ordinal) is >= 0 and var at
            ? Position(text, at)
            : throw a.Fail("did not find the text"),
        ["count"] = (text, a, _) => a.Text(0, "sub") is { Length: > 0 } part
            ? (long)text.AsSpan().Count(part)
            : PythonText.Length(text) + 1L,
        ["removeprefix"] = (text, a, _) => a.Text(0, "prefix") is var part && text.StartsWith(part, StringComparison.Ordinal)
            ? text[part.Length..]
            : text,
        ["removesuffix"] = (text, a, _) => a.Text(0, "suffix") is var part && text.EndsWith(part, StringComparison.Ordinal)
            ? text[..^part.Length]
            : text,
        ["isdigit"] = (text, _, _) => text.Length > 0 && text.All(char.IsDigit),
        ["isalpha"] = (text, _, _) => text.Length > 0 && text.All(char.IsLetter),
        ["isalnum"] = (text, _, _) => text.Length > 0 && text.All(char.IsLetterOrDigit),
        ["isspace"] = (text, _, _) => text.Length > 0 && PythonText.IsBlank(text),
        ["isupper"] = (text, _, _) => text.Any(char.IsUpper) && !text.Any(char.IsLower),
        ["islower"] = (text, _, _) => text.Any(char.IsLower) && !text.Any(char.IsUpper),
    };

    private static readonly Dictionary<string, Func<TemplateMap, Arguments, object?>> OfMap = new(StringComparer.Ordinal)
    {
        ["items"] = (map, _) => map.Select(item => (object?)new object?[] { item.Key, item.Value }).ToList(),
        ["keys"] = (map, _) => map.Keys.Cast<object?>().ToList(),
        ["values"] = (map, _) => map.Values.ToList(),
        ["get"] = (map, a) => a.Required(0, "key") is not null and var key
            ? map.GetValueOrDefault(key, a.Value(1, "default", null))
            : a.Value(1, "default", null),
        ["copy"] = (map, _) => Copy(map),
    };

    // Lists may grow: transformers forbids it, other renderers do not, and some templates rely on it.
    private static readonly Dictionary<string, Func<List<object?>, Arguments, object?>> OfList = new(StringComparer.Ordinal)
    {
        ["append"] = (list, a) =>
        {
            list.Add(a.Required(0, "item"));
            return null;
        },
        ["extend"] = (list, a) =>
        {
            list.AddRange(a.Required(0, "items") as IReadOnlyList<object?> ?? throw a.Fail("needs a list"));
            return null;
        },
        ["pop"] = Pop,
        ["index"] = (list, a) => list.FindIndex(item => Values.AreEqual(item, a.Required(0, "item"), a.Line)) is >= 0 and var at
            ? (long)at
            : throw a.Fail("did not find the item"),
        ["count"] = (list, a) => (long)list.Count(item => Values.AreEqual(item, a.Required(0, "item"), a.Line)),
        ["copy"] = (list, _) => list.ToList(),
    };

    // Null where the type has no such method.
    internal static TemplateCallable? Find(object? target, string name)
    {
        switch (target)
        {
            case string text when OfText.TryGetValue(name, out Func<string, Arguments, Evaluator, object?>? method):
                return new TemplateFunction(name, (arguments, evaluator) =>
                {
                    evaluator.Budget.Text(text.Length, arguments.Line);
                    return method(text, arguments, evaluator);
                });
            case TemplateMap map when OfMap.TryGetValue(name, out Func<TemplateMap, Arguments, object?>? method):
                return new TemplateFunction(name, (arguments, _) => method(map, arguments));
            case List<object?> list when OfList.TryGetValue(name, out Func<List<object?>, Arguments, object?>? method):
                return new TemplateFunction(name, (arguments, evaluator) =>
                {
                    evaluator.Budget.Step(arguments.Line, name is "append" or "pop" ? 1 : list.Count);
                    return method(list, arguments);
                });
            default:
                return null;
        }
    }

    internal static List<object?> Objects(IEnumerable<string> texts) => [.. texts];

    // One text or a tuple of them.
    private static bool Any(Arguments arguments, Func<string, bool> matches) => arguments.Required(0, "prefix") switch
    {
        string part => matches(part),
        object?[] parts => parts.Any(part => part is string text && matches(text)),
        _ => throw arguments.Fail("needs a string or a tuple of strings"),
    };

    // From UTF-16 units to code points.
    private static long Position(string text, int at) => at < 0 ? -1 : PythonText.Length(text[..at]);

    private static object? Pop(List<object?> list, Arguments arguments)
    {
        long index = arguments.Integer(0, "index", -1);
        long at = index < 0 ? index + list.Count : index;
        if (at < 0 || at >= list.Count)
        {
            throw arguments.Fail("has no such item");
        }

        object? item = list[(int)at];
        list.RemoveAt((int)at);
        return item;
    }

    private static TemplateMap Copy(TemplateMap map)
    {
        TemplateMap copy = [];
        foreach ((object key, object? value) in map)
        {
            copy[key] = value;
        }

        return copy;
    }
}
