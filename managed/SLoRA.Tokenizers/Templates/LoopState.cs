// The variable `loop` of a for block. One map for each iteration, so that a value taken from it stays as it was.

namespace SLoRA.Tokenizers.Templates;

internal sealed class LoopState(IReadOnlyList<object?> items)
{
    private object? _lastChanged = new Undefined("loop.changed");

    internal TemplateMap At(int index)
    {
        int count = items.Count;
        return new TemplateMap
        {
            ["index"] = index + 1L,
            ["index0"] = (long)index,
            ["revindex"] = (long)(count - index),
            ["revindex0"] = count - index - 1L,
            ["first"] = index == 0,
            ["last"] = index == count - 1,
            ["length"] = (long)count,
            // Only recursive loops, which are not supported, go deeper.
            ["depth"] = 1L,
            ["depth0"] = 0L,
            ["previtem"] = index > 0 ? items[index - 1] : new Undefined("'loop.previtem'"),
            ["nextitem"] = index < count - 1 ? items[index + 1] : new Undefined("'loop.nextitem'"),
            ["cycle"] = new TemplateFunction("cycle", (arguments, _) => Cycle(arguments, index)),
            ["changed"] = new TemplateFunction("changed", (arguments, _) => Changed(arguments)),
        };
    }

    private static object? Cycle(Arguments arguments, int index) =>
        arguments.Positional.Count == 0
            ? throw arguments.Fail("needs an argument")
            : arguments.Positional[index % arguments.Positional.Count];

    private bool Changed(Arguments arguments)
    {
        object?[] now = [.. arguments.Positional];
        bool changed = _lastChanged is Undefined || !Values.AreEqual(_lastChanged, now, arguments.Line);
        _lastChanged = now;
        return changed;
    }
}
