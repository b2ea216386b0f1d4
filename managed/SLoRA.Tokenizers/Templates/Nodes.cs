// The syntax tree. Plain data; Parser makes it, Renderer and Evaluator walk it.

namespace SLoRA.Tokenizers.Templates;

internal abstract record Expression(int Line);

internal sealed record LiteralExpression(object? Value, int Line) : Expression(Line);

internal sealed record NameExpression(string Name, int Line) : Expression(Line);

internal sealed record ListExpression(IReadOnlyList<Expression> Items, bool IsTuple, int Line) : Expression(Line);

internal sealed record MapExpression(IReadOnlyList<(Expression Key, Expression Value)> Items, int Line) : Expression(Line);

internal sealed record AttributeExpression(Expression Target, string Name, int Line) : Expression(Line);

internal sealed record SubscriptExpression(Expression Target, Expression Index, int Line) : Expression(Line);

internal sealed record SliceExpression(Expression Target, Expression? Start, Expression? Stop, Expression? Step, int Line)
    : Expression(Line);

internal sealed record CallExpression(Expression Target, ArgumentList Arguments, int Line) : Expression(Line);

internal sealed record FilterExpression(Expression? Target, string Name, ArgumentList Arguments, int Line) : Expression(Line);

internal sealed record TestExpression(Expression Target, string Name, ArgumentList Arguments, bool Negated, int Line)
    : Expression(Line);

internal sealed record UnaryExpression(string Operator, Expression Operand, int Line) : Expression(Line);

internal sealed record BinaryExpression(string Operator, Expression Left, Expression Right, int Line) : Expression(Line);

internal sealed record ConcatExpression(IReadOnlyList<Expression> Parts, int Line) : Expression(Line);

internal sealed record CompareExpression(
    Expression First, IReadOnlyList<(string Operator, Expression Right)> Rest, int Line) : Expression(Line);

internal sealed record ConditionalExpression(Expression Test, Expression Then, Expression? Else, int Line)
    : Expression(Line);

internal sealed record ArgumentList(
    IReadOnlyList<Expression> Positional, IReadOnlyList<(string Name, Expression Value)> Named)
{
    internal static readonly ArgumentList Empty = new([], []);
}

internal abstract record Statement(int Line);

internal sealed record DataStatement(string Text, int Line) : Statement(Line);

internal sealed record OutputStatement(Expression Value, int Line) : Statement(Line);

internal sealed record IfStatement(
    IReadOnlyList<(Expression Test, IReadOnlyList<Statement> Body)> Branches,
    IReadOnlyList<Statement> Else,
    int Line) : Statement(Line);

internal sealed record ForStatement(
    AssignmentTarget Target,
    Expression Items,
    Expression? Filter,
    IReadOnlyList<Statement> Body,
    IReadOnlyList<Statement> Else,
    int Line) : Statement(Line);

internal sealed record SetStatement(AssignmentTarget Target, Expression Value, int Line) : Statement(Line);

// The filters form a chain whose innermost target is null: the rendered body.
internal sealed record SetBlockStatement(
    AssignmentTarget Target, FilterExpression? Filter, IReadOnlyList<Statement> Body, int Line) : Statement(Line);

internal sealed record FilterBlockStatement(FilterExpression Filter, IReadOnlyList<Statement> Body, int Line)
    : Statement(Line);

internal sealed record MacroStatement(
    string Name,
    IReadOnlyList<(string Name, Expression? Default)> Parameters,
    IReadOnlyList<Statement> Body,
    int Line) : Statement(Line);

internal sealed record CallBlockStatement(CallExpression Call, MacroStatement Caller, int Line) : Statement(Line);

// A body in its own scope ({% generation %} marks the assistant's turn for training and renders as its body).
internal sealed record ScopeStatement(IReadOnlyList<Statement> Body, int Line) : Statement(Line);

internal sealed record LoopControlStatement(bool IsBreak, int Line) : Statement(Line);

internal abstract record AssignmentTarget;

internal sealed record NameTarget(string Name) : AssignmentTarget;

internal sealed record AttributeTarget(string Name, string Attribute) : AssignmentTarget;

internal sealed record TupleTarget(IReadOnlyList<AssignmentTarget> Items) : AssignmentTarget;
