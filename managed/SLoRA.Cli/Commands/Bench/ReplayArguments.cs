// How a trace is replayed, and where its report goes.
using System.CommandLine;
using System.Globalization;
using System.Text;
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Replay;
using SLoRA.Bench.Reports;
using SLoRA.Bench.Results;

namespace SLoRA.Cli.Commands.Bench;

/// BaseModel null: the first model that the server lists.
internal sealed record ServerAddress(Uri Url, string? BaseModel, string? ApiKey);

internal sealed class ReplayArguments
{
    private readonly Option<string?> _http = new("--http") { Description = "Address of an OpenAI-compatible server to replay against instead of an engine here, such as http://127.0.0.1:8080/v1." };
    private readonly Option<string?> _baseModel = new("--http-model") { Description = "The server's name of the base model; default: the first it lists." };
    private readonly Option<string?> _names = new("--http-adapter") { Description = "The server's name of adapter i, with {0} for i, or names in turn, such as upper,json.", DefaultValueFactory = _ => "a{0}" };
    private readonly Option<string?> _key = new("--http-key") { Description = "API key of the server." };
    private readonly Option<int> _vocabulary = new("--vocabulary") { Description = "With --http: prompts are token ids below this.", DefaultValueFactory = _ => 32000 };
    private readonly Option<double> _slo = new("--slo") { Description = "Seconds within which a first token is to come.", DefaultValueFactory = _ => 6 };
    private readonly Option<bool> _stop = new("--window") { Description = "Stop when the window ends." };
    private readonly Option<string> _window = new("--window-seconds") { Description = "The window, in seconds of the trace.", DefaultValueFactory = _ => "20:60" };
    private readonly Option<bool> _noBound = new("--no-bound") { Description = "Do not measure the card's limits nor work out the bound." };
    private readonly Option<string?> _json = new("--json") { Description = "File for the report as JSON." };

    private readonly Option<string?> _html = new("--html") { Description = "File for the report with plots." };

    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { _http, _baseModel, _names, _key, _vocabulary, _slo, _stop, _window, _noBound, _json, _html })
        {
            command.Options.Add(option);
        }
    }

    public ServerAddress? Server(ParseResult parsed)
    {
        if (parsed.GetValue(_http) is not { } text)
        {
            return null;
        }

        return Uri.TryCreate(text, UriKind.Absolute, out var url) && url.Scheme is "http" or "https"
            ? new ServerAddress(url, parsed.GetValue(_baseModel), parsed.GetValue(_key))
            : throw new ArgumentException($"--http is '{text}'; it must be an address such as http://127.0.0.1:8080/v1");
    }

    public Func<int, string?> AdapterNames(ParseResult parsed)
    {
        var text = parsed.GetValue(_names)!;
        if (!text.Contains('{', StringComparison.Ordinal))
        {
            var names = text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
            return index => names.Length == 0 ? null : names[index % names.Length];
        }

        try
        {
            var format = CompositeFormat.Parse(text);
            _ = string.Format(CultureInfo.InvariantCulture, format, 0);
            return index => string.Format(CultureInfo.InvariantCulture, format, index);
        }
        catch (FormatException)
        {
            throw new ArgumentException($"--http-adapter is '{text}'; it must have {{0}} for the adapter's index, such as a{{0}}, or be names in turn");
        }
    }

    public bool WantsBound(ParseResult parsed) => !parsed.GetValue(_noBound);

    public ReplayOptions Read(ParseResult parsed)
    {
        var slo = parsed.GetValue(_slo);
        return new ReplayOptions
        {
            SloSeconds = slo > 0 ? slo : throw new ArgumentException($"--slo is {slo.ToString(CultureInfo.InvariantCulture)}; it must be above 0"),
            Window = ReadWindow(parsed.GetValue(_window)!),
            StopAtWindowEnd = parsed.GetValue(_stop),
            VocabularySize = parsed.GetValue(_vocabulary) is > 0 and var size ? size : throw new ArgumentException($"--vocabulary is {parsed.GetValue(_vocabulary)}; it must be at least 1"),
        };
    }

    /// Throws where the report could not be written.
    public void CheckFiles(ParseResult parsed)
    {
        OutputFile.Check(parsed.GetValue(_json), "--json");
        OutputFile.Check(parsed.GetValue(_html), "--html");
    }

    public void Write(ParseResult parsed, ReplayReport report)
    {
        if (parsed.GetValue(_json) is { } path)
        {
            BenchFiles.Write(report, path);
            Console.Error.WriteLine($"wrote {path}");
        }

        if (parsed.GetValue(_html) is { } page)
        {
            HtmlReport.Write([report], page);
            Console.Error.WriteLine($"wrote {page}");
        }
    }

    private static ReplayWindow ReadWindow(string text)
    {
        var ends = text.Split(':');
        return ends.Length == 2 && TryRead(ends[0], out var from) && TryRead(ends[1], out var to) && to > from
            ? new ReplayWindow(from, to)
            : throw new ArgumentException($"--window-seconds is '{text}'; it must be two rising numbers such as 20:60");
    }

    private static bool TryRead(string text, out double value) => double.TryParse(text, CultureInfo.InvariantCulture, out value) && value >= 0;
}
