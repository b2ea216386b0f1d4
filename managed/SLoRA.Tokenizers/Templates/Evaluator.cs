// Expressions to values. Statements are Renderer's; filters, tests, methods and globals have tables of their own.

namespace SLoRA.Tokenizers.Templates;

internal sealed class Evaluator(Budget budget, TimeProvider time)
{
    internal Budget Budget => budget;

    internal TimeProvider Time => time;

    internal object? Evaluate(Expression expression, Scope scope)
    {
        budget.Step(expression.Line);
        budget.Enter(expression.Line);
        object? value = expression switch
        {
            LiteralExpression literal => literal.Value,
            NameExpression name => Lookup(name.Name, scope),
            AttributeExpression attribute => Members.Attribute(Evaluate(attribute.Target, scope), attribute.Name, attribute.Line),
            SubscriptExpression subscript => Subscript(subscript, scope),
            SliceExpression slice => Slice(slice, scope),
            CallExpression call => Call(call, scope),
            FilterExpression filter => Filter(filter, null, scope),
            TestExpression test => Test(test, scope) != test.Negated,
            UnaryExpression unary => Unary(unary, scope),
            BinaryExpression binary => Binary(binary, scope),
            CompareExpression compare => Compare(compare, scope),
            ConcatExpression concat => Concat(concat, scope),
            ConditionalExpression conditional => Conditional(conditional, scope),
            ListExpression list => List(list, scope),
            MapExpression map => Map(map, scope),
            _ => throw new TemplateException("an expression is not supported", expression.Line),
        };
        budget.Leave();
        return value;
    }

    // `body` replaces the innermost target of a filter block's chain.
    internal object? Filter(FilterExpression filter, object? body, Scope scope)
    {
        object? target = filter.Target switch
        {
            null => body,
            FilterExpression inner => NestedFilter(inner, body, scope),
            _ => Evaluate(filter.Target, scope),
        };
        return ApplyFilter(filter.Name, target, Arguments(filter.Name, filter.Arguments, filter.Line, scope));
    }

    internal object? ApplyFilter(string name, object? target, Arguments arguments)
    {
        ChargeText(target, arguments.Line);
        return Made(FilterTable.Get(name, arguments.Line)(target, arguments, this), arguments.Line);
    }

    internal bool ApplyTest(string name, object? target, Arguments arguments)
    {
        ChargeText(target, arguments.Line);
        return TestTable.Get(name, arguments.Line)(target, arguments);
    }

    internal object? Invoke(object? target, Arguments arguments)
    {
        budget.Enter(arguments.Line);
        object? result = target switch
        {
            TemplateCallable callable => callable.Call(arguments, this),
            Undefined undefined => throw undefined.Fail(arguments.Line),
            _ => throw new TemplateException($"a value of type {Values.TypeName(target)} cannot be called", arguments.Line),
        };
        budget.Leave();
        return Made(result, arguments.Line);
    }

    internal Arguments Arguments(string function, ArgumentList list, int line, Scope scope)
    {
        object?[] positional = [.. list.Positional.Select(argument => Evaluate(argument, scope))];
        Dictionary<string, object?> named = new(StringComparer.Ordinal);
        foreach ((string name, Expression value) in list.Named)
        {
            named[name] = Evaluate(value, scope);
        }

        return new Arguments(function, positional, named, line);
    }

    // The items of anything a loop accepts.
    internal IReadOnlyList<object?> Items(object? value, int line)
    {
        IReadOnlyList<object?> items = value switch
        {
            IReadOnlyList<object?> list => list,
            string text => PythonText.Characters(text),
            TemplateMap map => [.. map.Keys],
            Undefined => [],
            _ => throw new TemplateException($"a value of type {Values.TypeName(value)} is not iterable", line),
        };
        budget.Step(line, items.Count);
        return items;
    }

    // Counts a text that was just made.
    internal T Made<T>(T value, int line)
    {
        ChargeText(value, line);
        return value;
    }

    private static object? Lookup(string name, Scope scope) =>
        scope.TryGet(name, out object? value) ? value
        : Globals.TryGet(name, out TemplateCallable? global) ? global
        : new Undefined($"'{name}'");

    private object? NestedFilter(FilterExpression filter, object? body, Scope scope)
    {
        budget.Step(filter.Line);
        budget.Enter(filter.Line);
        object? result = Filter(filter, body, scope);
        budget.Leave();
        return result;
    }

    private void ChargeText(object? value, int line)
    {
        switch (value)
        {
            case string text:
                budget.Text(text.Length, line);
                break;
            case IReadOnlyCollection<object?> list:
                budget.Step(line, list.Count);
                break;
            case TemplateMap map:
                budget.Step(line, map.Count);
                break;
        }
    }

    private object? Subscript(SubscriptExpression subscript, Scope scope) =>
        Members.Subscript(Evaluate(subscript.Target, scope), Evaluate(subscript.Index, scope), subscript.Line);

    private object? Slice(SliceExpression slice, Scope scope)
    {
        object? target = Evaluate(slice.Target, scope);
        long? Bound(Expression? part) => part is null ? null : Evaluate(part, scope) switch
        {
            null => null,
            long number => number,
            _ => throw new TemplateException("a slice needs whole numbers", slice.Line),
        };

        object? result = Members.Slice(target, Bound(slice.Start), Bound(slice.Stop), Bound(slice.Step) ?? 1, slice.Line);
        ChargeText(target, slice.Line);
        return Made(result, slice.Line);
    }

    private object? Call(CallExpression call, Scope scope)
    {
        object? target = Evaluate(call.Target, scope);
        string name = target is TemplateCallable callable ? callable.Name : "call";
        return Invoke(target, Arguments(name, call.Arguments, call.Line, scope));
    }

    private bool Test(TestExpression test, Scope scope)
    {
        object? target = Evaluate(test.Target, scope);
        return ApplyTest(test.Name, target, Arguments(test.Name, test.Arguments, test.Line, scope));
    }

    private object? Unary(UnaryExpression unary, Scope scope)
    {
        object? operand = Evaluate(unary.Operand, scope);
        return unary.Operator == "not" ? !Values.IsTrue(operand) : Operators.Sign(unary.Operator, operand, unary.Line);
    }

    private object? Binary(BinaryExpression binary, Scope scope)
    {
        object? left = Evaluate(binary.Left, scope);
        if (binary.Operator is "and" or "or")
        {
            return Values.IsTrue(left) == (binary.Operator == "or") ? left : Evaluate(binary.Right, scope);
        }

        object? right = Evaluate(binary.Right, scope);
        return Made(Operators.Apply(binary.Operator, left, right, binary.Line, budget), binary.Line);
    }

    // a < b < c holds if each pair does; what follows the first that does not is not evaluated.
    private bool Compare(CompareExpression compare, Scope scope)
    {
        object? left = Evaluate(compare.First, scope);
        foreach ((string name, Expression rightExpression) in compare.Rest)
        {
            object? right = Evaluate(rightExpression, scope);
            ChargeText(right, compare.Line);
            if (!Operators.Compare(name, left, right, compare.Line))
            {
                return false;
            }

            left = right;
        }

        return true;
    }

    private string Concat(ConcatExpression concat, Scope scope)
    {
        string[] parts = [.. concat.Parts.Select(part => Values.ToText(Evaluate(part, scope), part.Line))];
        budget.Text(parts.Sum(part => (long)part.Length), concat.Line);
        return string.Concat(parts);
    }

    private object? Conditional(ConditionalExpression conditional, Scope scope)
    {
        if (Values.IsTrue(Evaluate(conditional.Test, scope)))
        {
            return Evaluate(conditional.Then, scope);
        }

        return conditional.Else is null
            ? new Undefined("the inline if without else")
            : Evaluate(conditional.Else, scope);
    }

    private object List(ListExpression list, Scope scope)
    {
        object?[] items = [.. list.Items.Select(item => Evaluate(item, scope))];
        return list.IsTuple ? items : items.ToList();
    }

    private TemplateMap Map(MapExpression expression, Scope scope)
    {
        TemplateMap map = [];
        foreach ((Expression key, Expression value) in expression.Items)
        {
            map[Members.Key(Evaluate(key, scope), key.Line)] = Evaluate(value, scope);
        }

        return map;
    }
}
