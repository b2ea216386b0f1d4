// Distributions against numbers worked out by hand (and by numpy.percentile).
using SLoRA.Bench.Adapters;
using SLoRA.Bench.Statistics;

namespace SLoRA.Bench.Tests;

public class StatisticsTests
{
    [Fact]
    public void Percentiles_are_linear_between_neighbours()
    {
        var values = Distribution.Of([40, 10, 30, 20]);
        Assert.Equal(new Distribution(4, 25, 25, 37, 39.7, 40), values with { P99 = Math.Round(values.P99, 9) });
    }

    [Fact]
    public void One_value_and_none()
    {
        Assert.Equal(new Distribution(1, 3, 3, 3, 3, 3), Distribution.Of([3]));
        Assert.Equal(new Distribution(0, 0, 0, 0, 0, 0), Distribution.Of([]));
    }

    [Fact]
    public void A_set_goes_round_its_ranks_and_counts_its_images()
    {
        var set = new AdapterSet("S2", 1000, AdapterSet.Paper["S2"], DistinctImages: 512);
        Assert.Equal([64, 32, 16, 8, 64], Enumerable.Range(0, 5).Select(set.RankOf));
        Assert.Equal(512, set.NumImages);
        Assert.Equal(1000, (set with { DistinctImages = 0 }).NumImages);
        Assert.Equal(0, (set with { Count = 0 }).NumImages);
    }

    [Theory]
    [InlineData("q,k,v,o", 0xfu)]
    [InlineData("all", 0u)]
    [InlineData("down,q", 0x41u)]
    public void Module_names_are_masks(string text, uint mask) => Assert.Equal(mask, ModuleNames.Parse(text));

    [Fact]
    public void A_module_that_there_is_not_is_named() =>
        Assert.Contains("'x'", Assert.Throws<ArgumentException>(() => ModuleNames.Parse("q,x")).Message, StringComparison.Ordinal);
}
