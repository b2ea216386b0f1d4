// Counts what one rendering has used against TemplateLimits.

using System.Runtime.CompilerServices;

namespace SLoRA.Tokenizers.Templates;

internal sealed class Budget(TemplateLimits limits)
{
    private int _steps;
    private int _depth;
    private long _textWork;

    internal void Step(int line, long count = 1)
    {
        if (count > limits.MaxSteps - _steps)
        {
            throw new TemplateException($"needs more than {limits.MaxSteps} steps", line);
        }

        _steps += (int)count;
    }

    // Called before a text of this length is made, or after one was searched.
    internal void Text(long chars, int line)
    {
        _textWork += chars;
        if (chars > limits.MaxOutputChars)
        {
            throw new TemplateException($"makes a text of more than {limits.MaxOutputChars} characters", line);
        }

        if (_textWork > limits.MaxTextWork)
        {
            throw new TemplateException($"works on more than {limits.MaxTextWork} characters", line);
        }
    }

    // The stack check is for callers that are deep already; the counter alone decides otherwise.
    internal void Enter(int line)
    {
        if (++_depth > limits.MaxDepth || !RuntimeHelpers.TryEnsureSufficientExecutionStack())
        {
            throw new TemplateException($"recurses deeper than {limits.MaxDepth} levels", line);
        }
    }

    internal void Leave() => _depth--;
}
