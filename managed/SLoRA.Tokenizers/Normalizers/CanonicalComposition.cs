// Unicode normalization form C (UAX #15): decompose, order combining marks, compose. Own code, because a host with
// InvariantGlobalization has no string.Normalize; the data is NfcData.

using System.Text;

namespace SLoRA.Tokenizers.Normalizers;

internal static class CanonicalComposition
{
    // Below this every text is in form C already.
    private const char FirstThatMatters = '\u0300';

    // Hangul syllables are composed by arithmetic (Unicode, section 3.12).
    private const int SyllableBase = 0xAC00;
    private const int LeadBase = 0x1100;
    private const int VowelBase = 0x1161;
    private const int TrailBase = 0x11A7;
    private const int LeadCount = 19;
    private const int VowelCount = 21;
    private const int TrailCount = 28;
    private const int SyllableCount = LeadCount * VowelCount * TrailCount;

    private static readonly Dictionary<int, (int First, int Second)> Decompositions = MakeDecompositions();
    private static readonly Dictionary<(int First, int Second), int> Compositions = MakeCompositions();
    private static readonly Dictionary<int, byte> Classes = MakeClasses();

    internal static bool MayChange(ReadOnlySpan<char> text) => text.IndexOfAnyInRange(FirstThatMatters, '\uFFFF') >= 0;

    internal static string Compose(string text)
    {
        List<int> runes = new(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
        {
            Decompose(rune.Value, runes);
        }

        OrderMarks(runes);
        return ComposeOrdered(runes);
    }

    private static void Decompose(int c, List<int> output)
    {
        int syllable = c - SyllableBase;
        if ((uint)syllable < SyllableCount)
        {
            output.Add(LeadBase + (syllable / (VowelCount * TrailCount)));
            output.Add(VowelBase + (syllable % (VowelCount * TrailCount) / TrailCount));
            if (syllable % TrailCount != 0)
            {
                output.Add(TrailBase + (syllable % TrailCount));
            }
        }
        else if (c < 0x80 || !Decompositions.TryGetValue(c, out (int First, int Second) parts))
        {
            output.Add(c);
        }
        else
        {
            // The data nests at most a few levels.
            Decompose(parts.First, output);
            if (parts.Second != 0)
            {
                Decompose(parts.Second, output);
            }
        }
    }

    // Stable sort of each run of marks by combining class; sorting whole runs keeps long ones from costing n².
    private static void OrderMarks(List<int> runes)
    {
        int start = 0;
        while (start < runes.Count)
        {
            int end = start;
            while (end < runes.Count && ClassOf(runes[end]) != 0)
            {
                end++;
            }

            if (end - start > 1)
            {
                int[] sorted = [.. runes.GetRange(start, end - start).OrderBy(ClassOf)];
                for (int i = 0; i < sorted.Length; i++)
                {
                    runes[start + i] = sorted[i];
                }
            }

            start = end + 1;
        }
    }

    private static string ComposeOrdered(List<int> runes)
    {
        List<int> output = new(runes.Count);
        int starter = -1;
        int lastClass = 0;
        foreach (int c in runes)
        {
            int combiningClass = ClassOf(c);
            // A mark is blocked from its starter by another of the same or a higher class between them.
            bool adjacent = starter == output.Count - 1;
            if (starter >= 0 && (adjacent || (lastClass < combiningClass && lastClass != 0))
                && TryCompose(output[starter], c, out int composed))
            {
                output[starter] = composed;
                continue;
            }

            if (combiningClass == 0)
            {
                starter = output.Count;
            }

            lastClass = combiningClass;
            output.Add(c);
        }

        StringBuilder text = new(output.Count);
        foreach (int c in output)
        {
            text.Append(new Rune(c).ToString());
        }

        return text.ToString();
    }

    private static bool TryCompose(int first, int second, out int composed)
    {
        if ((uint)(first - LeadBase) < LeadCount && (uint)(second - VowelBase) < VowelCount)
        {
            composed = SyllableBase + ((((first - LeadBase) * VowelCount) + (second - VowelBase)) * TrailCount);
            return true;
        }

        int syllable = first - SyllableBase;
        if ((uint)syllable < SyllableCount && syllable % TrailCount == 0
            && second > TrailBase && second < TrailBase + TrailCount)
        {
            composed = first + second - TrailBase;
            return true;
        }

        return Compositions.TryGetValue((first, second), out composed);
    }

    private static int ClassOf(int c) => c < FirstThatMatters ? 0 : Classes.GetValueOrDefault(c);

    private static Dictionary<int, (int First, int Second)> MakeDecompositions()
    {
        Dictionary<int, (int First, int Second)> result = [];
        AddAll(NfcData.Composed, result);
        AddAll(NfcData.OneWay, result);
        return result;
    }

    private static void AddAll(ReadOnlySpan<int> table, Dictionary<int, (int First, int Second)> result)
    {
        for (int i = 0; i < table.Length; i += 3)
        {
            result[table[i]] = (table[i + 1], table[i + 2]);
        }
    }

    private static Dictionary<(int First, int Second), int> MakeCompositions()
    {
        Dictionary<(int First, int Second), int> result = [];
        for (int i = 0; i < NfcData.Composed.Length; i += 3)
        {
            result[(NfcData.Composed[i + 1], NfcData.Composed[i + 2])] = NfcData.Composed[i];
        }

        return result;
    }

    private static Dictionary<int, byte> MakeClasses()
    {
        Dictionary<int, byte> result = [];
        for (int i = 0; i < NfcData.Classes.Length; i += 3)
        {
            for (int c = NfcData.Classes[i]; c <= NfcData.Classes[i + 1]; c++)
            {
                result[c] = (byte)NfcData.Classes[i + 2];
            }
        }

        return result;
    }
}
