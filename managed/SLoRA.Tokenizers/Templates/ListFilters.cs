// Filters that work on the items of a value.

namespace SLoRA.Tokenizers.Templates;

internal static class ListFilters
{
    internal static object? Join(object? target, Arguments arguments, Evaluator evaluator)
    {
        string separator = Values.ToText(arguments.Value(0, "d", ""), arguments.Line);
        string? attribute = arguments.OptionalText(1, "attribute");
        string[] parts =
        [
            .. evaluator.Items(target, arguments.Line)
                .Select(item => Values.ToText(Path(item, attribute, arguments.Line), arguments.Line)),
        ];
        long length = parts.Sum(part => (long)part.Length) + ((long)separator.Length * Math.Max(0, parts.Length - 1));
        evaluator.Budget.Text(length, arguments.Line);
        return string.Join(separator, parts);
    }

    internal static object? First(object? target, Arguments arguments, Evaluator evaluator)
    {
        IReadOnlyList<object?> items = evaluator.Items(target, arguments.Line);
        return items.Count > 0 ? items[0] : new Undefined("the first item of nothing");
    }

    internal static object? Last(object? target, Arguments arguments, Evaluator evaluator)
    {
        IReadOnlyList<object?> items = evaluator.Items(target, arguments.Line);
        return items.Count > 0 ? items[^1] : new Undefined("the last item of nothing");
    }

    internal static object? Reverse(object? target, Arguments arguments, Evaluator evaluator)
    {
        IEnumerable<object?> reversed = evaluator.Items(target, arguments.Line).Reverse();
        return target is string ? string.Concat(reversed) : reversed.ToList();
    }

    internal static object? Sort(object? target, Arguments arguments, Evaluator evaluator)
    {
        string? attribute = arguments.OptionalText(2, "attribute");
        bool caseSensitive = arguments.Flag(1, "case_sensitive", false);
        return Sorted(
            evaluator.Items(target, arguments.Line),
            item => Folded(Path(item, attribute, arguments.Line), caseSensitive),
            arguments.Flag(0, "reverse", false),
            arguments.Line);
    }

    internal static object? DictSort(object? target, Arguments arguments, Evaluator evaluator)
    {
        bool caseSensitive = arguments.Flag(0, "case_sensitive", false);
        int by = (arguments.OptionalText(1, "by") ?? "key") switch
        {
            "key" => 0,
            "value" => 1,
            _ => throw arguments.Fail("needs key or value as 'by'"),
        };
        return Sorted(
            Pairs(target, arguments, evaluator),
            pair => Folded(((object?[])pair!)[by], caseSensitive),
            arguments.Flag(2, "reverse", false),
            arguments.Line);
    }

    internal static object? Items(object? target, Arguments arguments, Evaluator evaluator) =>
        Pairs(target, arguments, evaluator);

    internal static object? Unique(object? target, Arguments arguments, Evaluator evaluator)
    {
        bool caseSensitive = arguments.Flag(0, "case_sensitive", false);
        string? attribute = arguments.OptionalText(1, "attribute");
        List<object?> seen = [];
        List<object?> result = [];
        foreach (object? item in evaluator.Items(target, arguments.Line))
        {
            evaluator.Budget.Step(arguments.Line, seen.Count);
            object? key = Folded(Path(item, attribute, arguments.Line), caseSensitive);
            if (!seen.Any(other => Values.AreEqual(other, key, arguments.Line)))
            {
                seen.Add(key);
                result.Add(item);
            }
        }

        return result;
    }

    internal static object? Sum(object? target, Arguments arguments, Evaluator evaluator)
    {
        string? attribute = arguments.OptionalText(0, "attribute");
        object? sum = arguments.Value(1, "start", 0L);
        foreach (object? item in evaluator.Items(target, arguments.Line))
        {
            sum = Operators.Apply("+", sum, Path(item, attribute, arguments.Line), arguments.Line, evaluator.Budget);
            evaluator.Made(sum, arguments.Line);
        }

        return sum;
    }

    internal static object? Extreme(object? target, Arguments arguments, Evaluator evaluator, int sign)
    {
        bool caseSensitive = arguments.Flag(0, "case_sensitive", false);
        string? attribute = arguments.OptionalText(1, "attribute");
        object? Key(object? item) => Folded(Path(item, attribute, arguments.Line), caseSensitive);

        IReadOnlyList<object?> items = evaluator.Items(target, arguments.Line);
        object? best = items.Count > 0 ? items[0] : new Undefined("the least or greatest item of nothing");
        foreach (object? item in items.Skip(1))
        {
            best = Values.Compare(Key(item), Key(best), arguments.Line) * sign > 0 ? item : best;
        }

        return best;
    }

    // map(attribute=…, default=…) or map('filter', arguments…).
    internal static object? Map(object? target, Arguments arguments, Evaluator evaluator)
    {
        IReadOnlyList<object?> items = evaluator.Items(target, arguments.Line);
        if (arguments.Positional.Count == 0)
        {
            string attribute = arguments.Text(0, "attribute");
            bool hasDefault = arguments.Named.TryGetValue("default", out object? fallback);
            return items.Select(item => Path(item, attribute, arguments.Line))
                .Select(value => hasDefault && value is Undefined ? fallback : value)
                .ToList();
        }

        string filter = arguments.Text(0, "filter");
        Arguments rest = Rest(filter, arguments, 1);
        return items.Select(item => evaluator.ApplyFilter(filter, item, rest)).ToList();
    }

    // select / reject / selectattr / rejectattr: by a test, or by truth where none is given.
    internal static object? Select(
        object? target, Arguments arguments, Evaluator evaluator, bool byAttribute, bool wanted)
    {
        string? attribute = byAttribute ? arguments.Text(0, "attribute") : null;
        int testAt = byAttribute ? 1 : 0;
        string? test = arguments.OptionalText(testAt, "test");
        Arguments rest = Rest(test ?? "select", arguments, testAt + 1);
        return evaluator.Items(target, arguments.Line)
            .Where(item =>
            {
                object? value = Path(item, attribute, arguments.Line);
                return (test is null ? Values.IsTrue(value) : evaluator.ApplyTest(test, value, rest)) == wanted;
            })
            .ToList();
    }

    private static Arguments Rest(string function, Arguments arguments, int skipped) =>
        new(function, [.. arguments.Positional.Skip(skipped)], arguments.Named, arguments.Line);

    // "a.b.0" follows attributes and items.
    private static object? Path(object? item, string? path, int line)
    {
        if (path is null)
        {
            return item;
        }

        foreach (string part in path.Split('.'))
        {
            item = long.TryParse(part, out long index)
                ? Members.Subscript(item, index, line)
                : Members.Subscript(item, part, line);
        }

        return item;
    }

    private static List<object?> Pairs(object? target, Arguments arguments, Evaluator evaluator)
    {
        if (target is Undefined)
        {
            return [];
        }

        if (target is not TemplateMap map)
        {
            throw arguments.Fail($"does not take a value of type {Values.TypeName(target)}");
        }

        evaluator.Budget.Step(arguments.Line, map.Count);
        return [.. map.Select(item => new object?[] { item.Key, item.Value })];
    }

    private static object? Folded(object? value, bool caseSensitive) =>
        !caseSensitive && value is string text ? PythonText.Lower(text) : value;

    // Stable in both directions, as Python's sort.
    private static List<object?> Sorted(
        IReadOnlyList<object?> items, Func<object?, object?> key, bool reverse, int line)
    {
        Comparer<object?> comparer = Comparer<object?>.Create((x, y) => Values.Compare(x, y, line));
        try
        {
            return reverse ? [.. items.OrderByDescending(key, comparer)] : [.. items.OrderBy(key, comparer)];
        }
        catch (InvalidOperationException e) when (e.InnerException is TemplateException inner)
        {
            throw inner;
        }
    }
}
