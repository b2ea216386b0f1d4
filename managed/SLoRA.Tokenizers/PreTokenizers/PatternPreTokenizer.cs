// Hand-written matchers for the few regular expressions that models use. .NET's own regexes see UTF-16 units, so a
// letter outside the BMP (𠮷, 𝓗) is not \p{L} to them; and unknown patterns must be refused, never guessed.

using System.Buffers;
using System.Globalization;
using System.Text;

namespace SLoRA.Tokenizers.PreTokenizers;

// The alternatives in which the known patterns differ:
//   WordTakesAnyPrefix   [^\r\n\p{L}\p{N}]?\p{L}+  (else " ?\p{L}+")
//   MaxDigits            \p{N}{1,3}, \p{N} or " ?\p{N}+" (0: no bound, optional space)
//   SymbolsTakeNewlines  " ?[^\s\p{L}\p{N}]+[\r\n]*" and "\s*[\r\n]+"
//   ContractionsIgnoreCase  (?i:'s|'t|…)
internal sealed record PatternRules(
    bool WordTakesAnyPrefix,
    int MaxDigits,
    bool SymbolsTakeNewlines,
    bool ContractionsIgnoreCase)
{
    internal static readonly PatternRules Llama3 = new(true, 3, true, true);
    internal static readonly PatternRules Qwen2 = new(true, 1, true, true);
    internal static readonly PatternRules Gpt2 = new(false, 0, false, false);
}

internal sealed class PatternPreTokenizer(PatternRules rules) : PreTokenizer
{
    private enum Kind
    {
        End,
        Letter,
        Number,
        Space,
        Symbol,
    }

    internal override void Split(Piece piece, List<Piece> output)
    {
        ReadOnlySpan<char> text = piece.Span;
        int at = 0;
        while (at < text.Length)
        {
            int length = MatchLength(text[at..]);
            output.Add(new Piece(piece.Source, piece.Start + at, piece.Start + at + length));
            at += length;
        }
    }

    // Length of the match at the start of `text`, which is not empty. Every character belongs to some alternative, so
    // the result is at least one. The order of the tests is the order of the alternatives.
    private int MatchLength(ReadOnlySpan<char> text)
    {
        int length = Contraction(text);
        if (length == 0)
        {
            length = Word(text);
        }

        if (length == 0)
        {
            length = Number(text);
        }

        if (length == 0)
        {
            length = Symbols(text);
        }

        return length == 0 ? Spaces(text) : length;
    }

    private int Contraction(ReadOnlySpan<char> text)
    {
        if (text.Length < 2 || text[0] != '\'')
        {
            return 0;
        }

        char first = Fold(text[1]);
        if (first is 's' or 't' or 'm' or 'd')
        {
            return 2;
        }

        char second = text.Length > 2 ? Fold(text[2]) : '\0';
        return (first, second) is ('r', 'e') or ('v', 'e') or ('l', 'l') ? 3 : 0;
    }

    // Simple case folding of the letters that occur in contractions; U+017F is the long s.
    private char Fold(char c)
    {
        if (!rules.ContractionsIgnoreCase)
        {
            return c;
        }

        return c == '\u017F' ? 's' : char.IsAsciiLetterUpper(c) ? (char)(c | 0x20) : c;
    }

    private int Word(ReadOnlySpan<char> text)
    {
        int prefix = 0;
        Kind kind = KindAt(text, out int size);
        if (kind != Kind.Letter)
        {
            bool allowed = rules.WordTakesAnyPrefix
                ? kind != Kind.Number && text[0] is not ('\r' or '\n')
                : text[0] == ' ';
            if (!allowed)
            {
                return 0;
            }

            prefix = size;
        }

        int letters = Run(text[prefix..], Kind.Letter, int.MaxValue);
        return letters == 0 ? 0 : prefix + letters;
    }

    private int Number(ReadOnlySpan<char> text)
    {
        int prefix = rules.MaxDigits == 0 && text[0] == ' ' ? 1 : 0;
        int digits = Run(text[prefix..], Kind.Number, rules.MaxDigits == 0 ? int.MaxValue : rules.MaxDigits);
        return digits == 0 ? 0 : prefix + digits;
    }

    private int Symbols(ReadOnlySpan<char> text)
    {
        int prefix = text[0] == ' ' ? 1 : 0;
        int symbols = Run(text[prefix..], Kind.Symbol, int.MaxValue);
        if (symbols == 0)
        {
            return 0;
        }

        int length = prefix + symbols;
        while (rules.SymbolsTakeNewlines && length < text.Length && text[length] is '\r' or '\n')
        {
            length++;
        }

        return length;
    }

    // \s*[\r\n]+ takes the run up to its last line end; else \s+(?!\S) leaves the last space to the next word; else \s+.
    private int Spaces(ReadOnlySpan<char> text)
    {
        int run = Run(text, Kind.Space, int.MaxValue);
        int lineEnd = rules.SymbolsTakeNewlines ? text[..run].LastIndexOfAny('\r', '\n') : -1;
        if (lineEnd >= 0)
        {
            return lineEnd + 1;
        }

        return run == text.Length || run == 1 ? run : run - 1;
    }

    private static int Run(ReadOnlySpan<char> text, Kind wanted, int maxRunes)
    {
        int at = 0;
        for (int count = 0; count < maxRunes && KindAt(text[at..], out int size) == wanted; count++)
        {
            at += size;
        }

        return at;
    }

    private static Kind KindAt(ReadOnlySpan<char> text, out int size)
    {
        if (text.IsEmpty)
        {
            size = 0;
            return Kind.End;
        }

        if (char.IsAscii(text[0]))
        {
            size = 1;
            return AsciiKind(text[0]);
        }

        return Rune.DecodeFromUtf16(text, out Rune rune, out size) == OperationStatus.Done ? RuneKind(rune) : Kind.Symbol;
    }

    private static Kind AsciiKind(char c) =>
        char.IsAsciiLetter(c) ? Kind.Letter
        : char.IsAsciiDigit(c) ? Kind.Number
        : c == ' ' || (c >= '\t' && c <= '\r') ? Kind.Space
        : Kind.Symbol;

    private static Kind RuneKind(Rune rune)
    {
        if (Rune.IsWhiteSpace(rune))
        {
            return Kind.Space;
        }

        return Rune.GetUnicodeCategory(rune) switch
        {
            UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
                or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => Kind.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber
                or UnicodeCategory.OtherNumber => Kind.Number,
            _ => Kind.Symbol,
        };
    }
}
