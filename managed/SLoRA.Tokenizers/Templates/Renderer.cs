// Statements to text: output, scopes, loops and macros of one rendering.

using System.Text;

namespace SLoRA.Tokenizers.Templates;

internal sealed class Renderer
{
    private readonly TemplateLimits _limits;
    private readonly Evaluator _evaluator;
    private readonly Budget _budget;

    internal Renderer(TemplateLimits limits, TimeProvider time)
    {
        _limits = limits;
        _budget = new Budget(limits);
        _evaluator = new Evaluator(_budget, time);
    }

    private enum Flow
    {
        Next,
        Break,
        Continue,
    }

    internal string Render(IReadOnlyList<Statement> body, Scope scope)
    {
        StringBuilder output = new();
        Run(body, scope, output);
        return output.ToString();
    }

    // A macro's call: its parameters in a new scope inside the one it was defined in.
    internal string CallMacro(MacroStatement macro, Scope definedIn, Arguments arguments)
    {
        Scope scope = new(definedIn);
        if (arguments.Positional.Count > macro.Parameters.Count)
        {
            throw arguments.Fail($"takes {macro.Parameters.Count} arguments");
        }

        HashSet<string> known = [.. macro.Parameters.Select(parameter => parameter.Name), "caller"];
        if (arguments.Named.Keys.FirstOrDefault(name => !known.Contains(name)) is string unknown)
        {
            throw arguments.Fail($"has no argument '{unknown}'");
        }

        for (int i = 0; i < macro.Parameters.Count; i++)
        {
            (string name, Expression? fallback) = macro.Parameters[i];
            scope.Set(name, arguments.Has(i, name)
                ? arguments.Value(i, name, null)
                : fallback is null ? new Undefined($"the argument '{name}'") : _evaluator.Evaluate(fallback, scope));
        }

        if (arguments.Named.TryGetValue("caller", out object? caller))
        {
            scope.Set("caller", caller);
        }

        return Render(macro.Body, scope);
    }

    private Flow Run(IReadOnlyList<Statement> body, Scope scope, StringBuilder output)
    {
        foreach (Statement statement in body)
        {
            _budget.Step(statement.Line);
            _budget.Enter(statement.Line);
            Flow flow = Run(statement, scope, output);
            _budget.Leave();
            if (flow != Flow.Next)
            {
                return flow;
            }
        }

        return Flow.Next;
    }

    private Flow Run(Statement statement, Scope scope, StringBuilder output)
    {
        switch (statement)
        {
            case DataStatement data:
                Write(data.Text, data.Line, output);
                return Flow.Next;
            case OutputStatement expression:
                Write(Values.ToText(_evaluator.Evaluate(expression.Value, scope), expression.Line), expression.Line, output);
                return Flow.Next;
            case IfStatement choice:
                return RunIf(choice, scope, output);
            case ForStatement loop:
                RunFor(loop, scope, output);
                return Flow.Next;
            case SetStatement set:
                Assign(set.Target, _evaluator.Evaluate(set.Value, scope), scope, set.Line);
                return Flow.Next;
            case SetBlockStatement set:
                string text = Render(set.Body, new Scope(scope));
                Assign(set.Target, set.Filter is null ? text : _evaluator.Filter(set.Filter, text, scope), scope, set.Line);
                return Flow.Next;
            case FilterBlockStatement block:
                object? filtered = _evaluator.Filter(block.Filter, Render(block.Body, new Scope(scope)), scope);
                Write(Values.ToText(filtered, block.Line), block.Line, output);
                return Flow.Next;
            case MacroStatement macro:
                scope.Set(macro.Name, MakeMacro(macro, scope));
                return Flow.Next;
            case CallBlockStatement call:
                RunCallBlock(call, scope, output);
                return Flow.Next;
            case ScopeStatement block:
                return Run(block.Body, new Scope(scope), output);
            case LoopControlStatement control:
                return control.IsBreak ? Flow.Break : Flow.Continue;
            default:
                throw new TemplateException("a block is not supported", statement.Line);
        }
    }

    private void Write(string text, int line, StringBuilder output)
    {
        _budget.Text(text.Length, line);
        if (output.Length + text.Length > _limits.MaxOutputChars)
        {
            throw new TemplateException($"makes more than {_limits.MaxOutputChars} characters of output", line);
        }

        output.Append(text);
    }

    private Flow RunIf(IfStatement choice, Scope scope, StringBuilder output)
    {
        foreach ((Expression test, IReadOnlyList<Statement> body) in choice.Branches)
        {
            if (Values.IsTrue(_evaluator.Evaluate(test, scope)))
            {
                return Run(body, scope, output);
            }
        }

        return Run(choice.Else, scope, output);
    }

    private void RunFor(ForStatement loop, Scope scope, StringBuilder output)
    {
        // A copy: the body may append to the list it loops over.
        List<object?> items = [.. _evaluator.Items(_evaluator.Evaluate(loop.Items, scope), loop.Line)];
        if (loop.Filter is not null)
        {
            items = Selected(loop, loop.Filter, items, scope);
        }

        LoopState state = new(items);
        for (int i = 0; i < items.Count; i++)
        {
            _budget.Step(loop.Line);
            Scope inner = new(scope);
            inner.Set("loop", state.At(i));
            Assign(loop.Target, items[i], inner, loop.Line);
            if (Run(loop.Body, inner, output) == Flow.Break)
            {
                break;
            }
        }

        if (items.Count == 0)
        {
            Run(loop.Else, scope, output);
        }
    }

    private List<object?> Selected(ForStatement loop, Expression filter, List<object?> items, Scope scope)
    {
        List<object?> selected = [];
        foreach (object? item in items)
        {
            Scope inner = new(scope);
            Assign(loop.Target, item, inner, loop.Line);
            if (Values.IsTrue(_evaluator.Evaluate(filter, inner)))
            {
                selected.Add(item);
            }
        }

        return selected;
    }

    private void Assign(AssignmentTarget target, object? value, Scope scope, int line)
    {
        switch (target)
        {
            case NameTarget name:
                scope.Set(name.Name, value);
                break;
            case AttributeTarget attribute:
                if (!scope.TryGet(attribute.Name, out object? owner) || owner is not TemplateNamespace names)
                {
                    throw new TemplateException($"'{attribute.Name}' is not a namespace", line);
                }

                names.Fields[attribute.Attribute] = value;
                break;
            case TupleTarget tuple:
                Unpack(tuple, value, scope, line);
                break;
        }
    }

    private void Unpack(TupleTarget tuple, object? value, Scope scope, int line)
    {
        IReadOnlyList<object?> items = _evaluator.Items(value, line);
        if (items.Count != tuple.Items.Count)
        {
            throw new TemplateException($"{items.Count} values do not fit {tuple.Items.Count} names", line);
        }

        for (int i = 0; i < items.Count; i++)
        {
            Assign(tuple.Items[i], items[i], scope, line);
        }
    }

    private TemplateFunction MakeMacro(MacroStatement macro, Scope scope) =>
        new(macro.Name, (arguments, _) => CallMacro(macro, scope, arguments));

    private void RunCallBlock(CallBlockStatement block, Scope scope, StringBuilder output)
    {
        object? target = _evaluator.Evaluate(block.Call.Target, scope);
        Arguments arguments = _evaluator.Arguments("call", block.Call.Arguments, block.Line, scope);
        Dictionary<string, object?> named = new(arguments.Named) { ["caller"] = MakeMacro(block.Caller, scope) };
        object? result = _evaluator.Invoke(target, new Arguments("call", arguments.Positional, named, block.Line));
        Write(Values.ToText(result, block.Line), block.Line, output);
    }
}
