// The merge loop (scan for short words, heap for long ones) against the plain definition, and unknown characters.

using SLoRA.Tokenizers.Models;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class BpeModelTests
{
    private const string Letters = "abc";

    [Fact]
    public void Merges_of_short_and_long_words_follow_the_definition()
    {
        Random random = new(17);
        for (int run = 0; run < 1000; run++)
        {
            (Dictionary<string, int> vocabulary, List<(string Left, string Right)> merges) = RandomModel(random);
            string word = string.Concat(Enumerable.Range(0, random.Next(1, 60)).Select(_ => Letters[random.Next(3)]));

            List<SymbolSpan> tokens = Encode(vocabulary, merges, word, unknownId: null, fuse: false, byteFallback: false);

            Assert.Equal(Reference(merges, word), tokens.Select(token => word[token.Start..token.End]));
            Assert.Equal(tokens.Select(token => vocabulary[word[token.Start..token.End]]), tokens.Select(token => token.Id));
        }
    }

    [Fact]
    public void Unknown_characters_become_one_token_where_they_are_fused()
    {
        Dictionary<string, int> vocabulary = new() { ["<unk>"] = 0, ["a"] = 1 };

        Assert.Equal([new(1, 0, 1), new(0, 1, 3), new(1, 3, 4)], Encode(vocabulary, [], "axya", 0, fuse: true, byteFallback: false));
        Assert.Equal([new(0, 0, 1), new(0, 1, 2)], Encode(vocabulary, [], "xy", 0, fuse: false, byteFallback: false));
        Assert.Equal([new(1, 0, 1)], Encode(vocabulary, [], "ax", null, fuse: false, byteFallback: false));
    }

    [Fact]
    public void Bytes_stand_for_unknown_characters_only_if_all_are_known()
    {
        Dictionary<string, int> vocabulary = new() { ["<unk>"] = 0, ["<0xC3>"] = 1, ["<0xA9>"] = 2 };

        Assert.Equal([new(1, 0, 1), new(2, 0, 1)], Encode(vocabulary, [], "é", 0, fuse: true, byteFallback: true));
        Assert.Equal([new(0, 0, 1)], Encode(vocabulary, [], "è", 0, fuse: true, byteFallback: true));
    }

    private static List<SymbolSpan> Encode(
        Dictionary<string, int> vocabulary,
        List<(string Left, string Right)> merges,
        string word,
        int? unknownId,
        bool fuse,
        bool byteFallback)
    {
        MergeTable table = new(merges.Count);
        for (int rank = 0; rank < merges.Count; rank++)
        {
            (string left, string right) = merges[rank];
            table.Add(vocabulary[left], vocabulary[right], rank, vocabulary[left + right]);
        }

        CharacterSymbols symbols = new(vocabulary, byteFallback, unknownId, fuse);
        List<SymbolSpan> output = [];
        new BpeModel(vocabulary, table, symbols, ignoreMerges: false).Encode(word, new BpeWord(), output);
        return output;
    }

    private static (Dictionary<string, int> Vocabulary, List<(string Left, string Right)> Merges) RandomModel(Random random)
    {
        List<string> tokens = [.. Letters.Select(letter => letter.ToString())];
        List<(string Left, string Right)> merges = [];
        for (int i = 0; i < 12; i++)
        {
            (string left, string right) = (tokens[random.Next(tokens.Count)], tokens[random.Next(tokens.Count)]);
            if (!tokens.Contains(left + right))
            {
                tokens.Add(left + right);
                merges.Add((left, right));
            }
        }

        // A merge may rank before the ones that make its parts.
        (string, string)[] shuffled = [.. merges];
        random.Shuffle(shuffled);
        return (tokens.Select((token, id) => (token, id)).ToDictionary(item => item.token, item => item.id), [.. shuffled]);
    }

    private static List<string> Reference(List<(string Left, string Right)> merges, string word)
    {
        List<string> parts = [.. word.Select(letter => letter.ToString())];
        while (true)
        {
            (int Rank, int At) best = Enumerable.Range(0, parts.Count - 1)
                .Select(at => (Rank: merges.IndexOf((parts[at], parts[at + 1])), At: at))
                .Where(candidate => candidate.Rank >= 0)
                .DefaultIfEmpty((-1, -1))
                .Min();
            if (best.Rank < 0)
            {
                return parts;
            }

            parts[best.At] += parts[best.At + 1];
            parts.RemoveAt(best.At + 1);
        }
    }
}
