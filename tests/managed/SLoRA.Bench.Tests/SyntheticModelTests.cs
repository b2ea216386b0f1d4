// Folders of models without weights, which all of a process share.
using SLoRA.Bench.Models;

namespace SLoRA.Bench.Tests;

public class SyntheticModelTests
{
    // A shape that no other test opens. Opening wrote over the file in place, and a run beside found it empty.
    [Fact]
    public void A_folder_is_whole_while_it_is_opened_again()
    {
        var folder = SyntheticModels.Open("llama-1.1b", ComputeDtype.Bf16).Path!;
        var expected = ModelShape.Read(folder);
        Parallel.For(0, 2000, new ParallelOptions { MaxDegreeOfParallelism = 4 }, i =>
        {
            if (i % 2 == 0)
            {
                SyntheticModels.Open("llama-1.1b", ComputeDtype.Bf16);
            }
            else
            {
                Assert.Equal(expected, ModelShape.Read(folder));
            }
        });
        Assert.Equal(["config.json"], Directory.EnumerateFiles(folder).Select(Path.GetFileName).ToArray());
    }
}
