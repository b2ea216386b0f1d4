// Tables: boxes in a terminal, and of full width where the output is no terminal, so that logs keep every column.
using Spectre.Console;

namespace SLoRA.Cli.Display;

internal static class Tables
{
    private const int PlainWidth = 180;

    public static Table Create(params string[] columns)
    {
        var table = new Table().Border(Console.IsOutputRedirected ? TableBorder.Ascii : TableBorder.Rounded);
        foreach (var column in columns)
        {
            table.AddColumn(column);
        }

        return table;
    }

    public static void Print(Table table)
    {
        if (Console.IsOutputRedirected)
        {
            AnsiConsole.Profile.Width = PlainWidth;
        }

        AnsiConsole.Write(table);
    }

    /// Text as one escaped line of at most `length` characters.
    public static string OneLine(string text, int length)
    {
        var line = string.Concat(text.Select(character => character switch { '\n' => "⏎", '\r' => string.Empty, '\t' => " ", _ => character.ToString() })).Trim();
        return Markup.Escape(line.Length <= length ? line : string.Concat(line.AsSpan(0, length - 1), "…"));
    }
}
