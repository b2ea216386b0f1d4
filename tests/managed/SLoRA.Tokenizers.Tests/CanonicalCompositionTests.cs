// NFC against Python's unicodedata (Data/nfc.json: random mixtures of composed characters, marks and Hangul).

using System.Text.Json;
using SLoRA.Tokenizers.Normalizers;
using Xunit;

namespace SLoRA.Tokenizers.Tests;

public sealed class CanonicalCompositionTests
{
    [Fact]
    public void Composed_texts_are_those_of_the_reference()
    {
        foreach (JsonElement pair in Assets.ReadData("nfc.json").EnumerateArray())
        {
            NormalizedText text = NormalizedText.FromOriginal(pair[0].GetString()!, 0);
            Assert.Equal(pair[1].GetString(), new NfcNormalizer().Apply(text).Text);
        }
    }

    [Fact]
    public void Characters_of_a_changed_segment_stand_for_the_whole_segment()
    {
        NormalizedText text = new NfcNormalizer().Apply(NormalizedText.FromOriginal("xe\u0301y", 10));

        Assert.Equal("x\u00E9y", text.Text);
        Assert.Equal((11, 13), (text.OriginalStart(1), text.OriginalEnd(1)));
        Assert.Equal((13, 14), (text.OriginalStart(2), text.OriginalEnd(2)));
    }

    [Fact]
    public void A_long_run_of_marks_costs_no_quadratic_time()
    {
        string text = "a" + string.Concat(Enumerable.Repeat("\u0316\u0301", 200_000));

        Assert.Equal(400_000, CanonicalComposition.Compose(text).Length);
    }
}
