// strftime for strftime_now: the directives of the C locale.

using System.Globalization;
using System.Text;

namespace SLoRA.Tokenizers.Templates;

internal static class TimeFormat
{
    internal static string Format(DateTimeOffset time, string format, int line)
    {
        StringBuilder output = new();
        for (int i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 == format.Length)
            {
                output.Append(format[i]);
                continue;
            }

            bool unpadded = format[i + 1] == '-' && i + 2 < format.Length;
            i += unpadded ? 2 : 1;
            string part = Directive(time, format[i], line);
            output.Append(unpadded && part.TrimStart('0') is { Length: > 0 } trimmed ? trimmed : unpadded ? "0" : part);
        }

        return output.ToString();
    }

    private static string Directive(DateTimeOffset time, char directive, int line)
    {
        string? pattern = directive switch
        {
            'd' => "dd",
            'm' => "MM",
            'y' => "yy",
            'Y' => "yyyy",
            'b' or 'h' => "MMM",
            'B' => "MMMM",
            'a' => "ddd",
            'A' => "dddd",
            'H' => "HH",
            'I' => "hh",
            'M' => "mm",
            'S' => "ss",
            'f' => "ffffff",
            'p' => "tt",
            'F' => "yyyy-MM-dd",
            'T' => "HH:mm:ss",
            'D' => "MM/dd/yy",
            'R' => "HH:mm",
            _ => null,
        };
        if (pattern is not null)
        {
            return time.ToString(pattern, CultureInfo.InvariantCulture);
        }

        return directive switch
        {
            '%' => "%",
            'j' => time.DayOfYear.ToString("000", CultureInfo.InvariantCulture),
            'e' => time.Day.ToString(CultureInfo.InvariantCulture).PadLeft(2),
            'w' => ((int)time.DayOfWeek).ToString(CultureInfo.InvariantCulture),
            _ => throw new TemplateException($"the date directive '%{directive}' is not supported", line),
        };
    }
}
