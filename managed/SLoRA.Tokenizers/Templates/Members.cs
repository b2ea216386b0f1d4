// Attributes, subscripts and slices of values.

namespace SLoRA.Tokenizers.Templates;

internal static class Members
{
    // x.name: a method first, then a key, as in Jinja.
    internal static object? Attribute(object? target, string name, int line) => target switch
    {
        Undefined undefined => throw undefined.Fail(line),
        TemplateNamespace names when names.Fields.TryGetValue(name, out object? value) => value,
        TemplateMap map => (object?)Methods.Find(target, name) ?? map.GetValueOrDefault(name, Missing(target, name)),
        _ => (object?)Methods.Find(target, name) ?? Missing(target, name),
    };

    // x[index]: a key first, then a method.
    internal static object? Subscript(object? target, object? index, int line) => (target, index) switch
    {
        (Undefined undefined, _) => throw undefined.Fail(line),
        (TemplateMap map, not null and not Undefined) when map.TryGetValue(index, out object? value) => value,
        (IReadOnlyList<object?> list, long or bool) => At(list, Values.ToInteger(index)),
        (string text, long or bool) => At(PythonText.Characters(text), Values.ToInteger(index)),
        (_, string name) => Attribute(target, name, line),
        _ => Missing(target, Values.ToText(index, line)),
    };

    internal static object? Slice(object? target, long? start, long? stop, long step, int line)
    {
        if (step == 0)
        {
            throw new TemplateException("a slice has step 0", line);
        }

        return target switch
        {
            List<object?> list => Pick(list, start, stop, step).ToList(),
            object?[] tuple => Pick(tuple, start, stop, step).ToArray(),
            string text => string.Concat(Pick(PythonText.Characters(text), start, stop, step)),
            Undefined undefined => throw undefined.Fail(line),
            _ => throw new TemplateException($"a value of type {Values.TypeName(target)} cannot be sliced", line),
        };
    }

    internal static object Key(object? key, int line) =>
        key is string or long or bool or double
            ? key
            : throw new TemplateException($"a value of type {Values.TypeName(key)} cannot be a key", line);

    private static object? At(IReadOnlyList<object?> list, long index)
    {
        long at = index < 0 ? index + list.Count : index;
        return at >= 0 && at < list.Count ? list[(int)at] : new Undefined($"the item {index}");
    }

    private static Undefined Missing(object? target, string name) =>
        new($"'{name}' of a value of type {Values.TypeName(target)}");

    private static IEnumerable<T> Pick<T>(IReadOnlyList<T> items, long? start, long? stop, long step)
    {
        long count = items.Count;
        long Clamp(long? bound, long missing, long low, long high) =>
            bound is not long value ? missing : Math.Clamp(value < 0 ? value + count : value, low, high);

        long from = step > 0 ? Clamp(start, 0, 0, count) : Clamp(start, count - 1, -1, count - 1);
        long to = step > 0 ? Clamp(stop, count, 0, count) : Clamp(stop, -1, -1, count - 1);
        for (long at = from; step > 0 ? at < to : at > to; at += step)
        {
            yield return items[(int)at];
            // A step past the end must not overflow.
            if (step > count || step < -count)
            {
                yield break;
            }
        }
    }
}
