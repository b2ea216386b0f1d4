// Names and values of a block, with the scope around it. Loops and macros open one, ifs do not; an assignment never
// reaches outward.

namespace SLoRA.Tokenizers.Templates;

internal sealed class Scope(Scope? parent)
{
    private readonly Dictionary<string, object?> _values = new(StringComparer.Ordinal);

    internal void Set(string name, object? value) => _values[name] = value;

    internal bool TryGet(string name, out object? value)
    {
        for (Scope? scope = this; scope is not null; scope = scope.Parent)
        {
            if (scope._values.TryGetValue(name, out value))
            {
                return true;
            }
        }

        value = null;
        return false;
    }

    private Scope? Parent { get; } = parent;
}
