// The tojson filter: Python's json.dumps as transformers calls it (ensure_ascii off).

using System.Globalization;
using System.Text;

namespace SLoRA.Tokenizers.Templates;

internal sealed class JsonText(string? indent, string itemSeparator, string keySeparator, bool ascii, bool sortKeys, int line)
{
    private const int MaxDepth = 200;

    private readonly StringBuilder _output = new();

    internal string Write(object? value, Budget budget)
    {
        Write(value, 0, budget);
        return _output.ToString();
    }

    private void Write(object? value, int depth, Budget budget)
    {
        budget.Step(line);
        // Checked while writing, so that a huge value is not written first and measured then.
        budget.Text(value is string content ? content.Length : 1, line);
        if (depth > MaxDepth)
        {
            throw new TemplateException("a value is nested too deep", line);
        }

        switch (value)
        {
            case null:
                _output.Append("null");
                break;
            case bool flag:
                _output.Append(flag ? "true" : "false");
                break;
            case long number:
                _output.Append(CultureInfo.InvariantCulture, $"{number}");
                break;
            case double number:
                _output.Append(Float(number));
                break;
            case string text:
                WriteString(text);
                break;
            case IReadOnlyList<object?> list:
                WriteAll('[', list, ']', depth, item => Write(item, depth + 1, budget));
                break;
            case TemplateMap map:
                IEnumerable<KeyValuePair<object, object?>> items =
                    sortKeys ? map.OrderBy(item => KeyText(item.Key), StringComparer.Ordinal) : map;
                WriteAll('{', [.. items], '}', depth, item =>
                {
                    WriteString(KeyText(item.Key));
                    _output.Append(keySeparator);
                    Write(item.Value, depth + 1, budget);
                });
                break;
            default:
                throw new TemplateException($"a value of type {Values.TypeName(value)} cannot be written as JSON", line);
        }
    }

    private static string Float(double number) =>
        double.IsNaN(number) ? "NaN"
        : double.IsInfinity(number) ? (number > 0 ? "Infinity" : "-Infinity")
        : Values.FloatText(number);

    private static string KeyText(object key) => key switch
    {
        string text => text,
        bool flag => flag ? "true" : "false",
        double number => Float(number),
        _ => Convert.ToString(key, CultureInfo.InvariantCulture) ?? "",
    };

    private void WriteAll<T>(char open, IReadOnlyList<T> items, char close, int depth, Action<T> write)
    {
        _output.Append(open);
        for (int i = 0; i < items.Count; i++)
        {
            _output.Append(i > 0 ? itemSeparator : "");
            NewLine(depth + 1);
            write(items[i]);
        }

        if (items.Count > 0)
        {
            NewLine(depth);
        }

        _output.Append(close);
    }

    private void NewLine(int depth)
    {
        if (indent is null)
        {
            return;
        }

        _output.Append('\n');
        for (int i = 0; i < depth; i++)
        {
            _output.Append(indent);
        }
    }

    private void WriteString(string text)
    {
        _output.Append('"');
        foreach (char c in text)
        {
            string? escape = c switch
            {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '\b' => "\\b",
                '\f' => "\\f",
                _ => c < ' ' || (ascii && c > '~') ? $"\\u{(int)c:x4}" : null,
            };
            if (escape is null)
            {
                _output.Append(c);
            }
            else
            {
                _output.Append(escape);
            }
        }

        _output.Append('"');
    }
}
