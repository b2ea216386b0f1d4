// Random changes of good inputs, for what reads foreign text: whatever comes out, a reader takes it or refuses it in its
// own words, in bounded time. A second of them in every test run; SLORA_FUZZ_SECONDS says how long each goes on
// otherwise (./build.sh fuzz). A finding is written to out/fuzz/findings with the change that made it.

using System.Buffers;
using System.Diagnostics;
using System.Text;
using Xunit;

namespace SLoRA.Fuzzing;

internal sealed class Mutations
{
    // What a single input may take on a busy machine; more means that it hangs.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private static readonly SearchValues<char> ValueBegins = SearchValues.Create("0123456789\"");

    private static readonly string[] Extremes =
        ["-1", "0", "2147483648", "9223372036854775808", "1e999", "0.5", "null", "true", "\"\"", "[]", "{}", "\"\\ud800\"", "\"\\u0000\""];

    private readonly string[] _seeds;
    private readonly string[] _words;
    private readonly Random _random;
    private readonly string _name;

    internal Mutations(string name, IEnumerable<string> seeds, IEnumerable<string> words)
    {
        _name = name;
        _seeds = [.. seeds];
        _words = [.. words, .. Extremes];
        Seed = Environment.GetEnvironmentVariable("SLORA_FUZZ_SECONDS") is null ? 1 : Random.Shared.Next();
        _random = new Random(Seed);
    }

    internal int Seed { get; }

    private static TimeSpan Duration =>
        TimeSpan.FromSeconds(int.TryParse(Environment.GetEnvironmentVariable("SLORA_FUZZ_SECONDS"), out var seconds) ? seconds : 1);

    /// Gives `read` one input after the other. It throws what it may not throw.
    internal async Task RunAsync(string root, Func<string, Task> read)
    {
        var all = Stopwatch.StartNew();
        var count = 0L;
        for (; all.Elapsed < Duration; count++)
        {
            var input = Next();
            try
            {
                await Task.Run(() => read(input)).WaitAsync(Patience);
            }
            catch (Exception error)
            {
                var folder = Path.Combine(root, "out", "fuzz", "findings");
                Directory.CreateDirectory(folder);
                var file = Path.Combine(folder, $"{_name}-{Seed}-{count}");
                await File.WriteAllTextAsync(file, input, new UTF8Encoding(false));
                Assert.Fail($"{_name}, seed {Seed}, input {count} (in {file}): {error}");
            }
        }

        var line = $"{_name,-12} {count} executions in {all.Elapsed.TotalSeconds:F0} s, seed {Seed}";
        TestContext.Current.SendDiagnosticMessage("{0}", line);
        if (Environment.GetEnvironmentVariable("SLORA_FUZZ_SECONDS") is not null)
        {
            Console.Error.WriteLine(line);
        }

        Assert.True(count > 0);
    }

    private string Next()
    {
        var text = Pick(_seeds);
        for (var changes = _random.Next(1, 6); changes > 0; changes--)
        {
            text = Change(text);
        }

        return text.Length > 200_000 ? text[..200_000] : text;
    }

    private string Change(string text)
    {
        var at = _random.Next(text.Length + 1);
        var length = Math.Min(_random.Next(1, _random.Next(2, 60)), text.Length - at);
        switch (_random.Next(8))
        {
            case 0:
                return text.Remove(at, length);
            case 1:
                return text.Insert(at, text.Substring(at, length));
            case 2:
                return text.Insert(at, Pick(_words));
            case 3:
                return text.Remove(at, length).Insert(at, Pick(_words));
            case 4:
                return text.Insert(at, ((char)_random.Next(_random.Next(4) == 0 ? 0xFFFF : 128)).ToString());
            case 5:
                return ReplaceValue(text, at);
            case 6:
                var other = Pick(_seeds);
                var from = _random.Next(other.Length + 1);
                return text.Insert(at, other.Substring(from, Math.Min(_random.Next(80), other.Length - from)));
            default:
                return text.Insert(at, string.Concat(Enumerable.Repeat(text.Substring(at, Math.Min(length, 8)), _random.Next(2, 400))));
        }
    }

    // The number or the quoted text that comes next, replaced whole: the text stays JSON.
    private string ReplaceValue(string text, int at)
    {
        var begin = text.AsSpan(at).IndexOfAny(ValueBegins);
        if (begin < 0)
        {
            return text;
        }

        begin += at;
        var end = begin + 1;
        if (text[begin] == '"')
        {
            end = text.IndexOf('"', end) + 1;
            end = end == 0 ? text.Length : end;
        }
        else
        {
            while (end < text.Length && (char.IsAsciiDigit(text[end]) || text[end] is '.' or 'e' or '-'))
            {
                end++;
            }
        }

        return text[..begin] + Pick(_words) + text[end..];
    }

    private string Pick(string[] list) => list[_random.Next(list.Length)];
}
