// The evaluated arguments of a call, and how functions take them: by position or name, each at most once.

namespace SLoRA.Tokenizers.Templates;

internal sealed class Arguments(
    string function, IReadOnlyList<object?> positional, IReadOnlyDictionary<string, object?> named, int line)
{
    internal int Line { get; } = line;

    internal IReadOnlyList<object?> Positional => positional;

    internal IReadOnlyDictionary<string, object?> Named => named;

    internal bool Has(int position, string name) => position < positional.Count || named.ContainsKey(name);

    internal object? Value(int position, string name, object? fallback) =>
        position < positional.Count ? positional[position] : named.GetValueOrDefault(name, fallback);

    internal object? Required(int position, string name) =>
        Has(position, name) ? Value(position, name, null) : throw Fail($"needs the argument '{name}'");

    internal string Text(int position, string name) =>
        Required(position, name) as string ?? throw Fail($"needs a string as '{name}'");

    internal string? OptionalText(int position, string name) => Value(position, name, null) switch
    {
        null => null,
        string text => text,
        _ => throw Fail($"needs a string as '{name}'"),
    };

    internal long Integer(int position, string name, long fallback) => Value(position, name, fallback) switch
    {
        long number => number,
        bool flag => flag ? 1 : 0,
        _ => throw Fail($"needs a whole number as '{name}'"),
    };

    internal bool Flag(int position, string name, bool fallback) => Values.IsTrue(Value(position, name, fallback));

    internal TemplateException Fail(string problem) => new($"'{function}' {problem}", Line);
}
