// Three views of the same structs must agree: the headers (as libclang read them), this runtime, and the library.

using SLoRA.Interop.Native;

namespace SLoRA.Interop.Tests;

public sealed class AbiLayoutTests
{
    [Fact]
    public void This_runtime_lays_structs_out_as_the_headers_do() => Assert.Equal(AbiLayout.Expected, AbiLayout.Measure());

    [Fact]
    public void The_library_was_built_with_the_same_layouts()
    {
        NativeTestLibrary.Require();

        Assert.Equal(Sorted(AbiLayout.Expected), Sorted(NativeBackends.ReadLayout()));
    }

    [Fact]
    public void Create_gives_the_defaults_of_the_INIT_macros()
    {
        NativeSamplingOptions sampling = NativeSamplingOptions.Create();

        Assert.Equal(1, sampling.TopP);
        Assert.Equal(1, sampling.TypicalP);
        Assert.Equal(1, sampling.RepetitionPenalty);
        Assert.Equal(0, sampling.Temperature);
        Assert.Equal(SizeOf("slora_sampling_options"), sampling.StructSize);
        Assert.Equal(SizeOf("slora_sequence_options"), NativeSequenceOptions.Create().StructSize);
        Assert.Equal((int)NativeDtype.Bf16, NativeModelOptions.Create().ComputeDtype);
    }

    private static ulong SizeOf(string name) => AbiLayout.Expected.Single(r => r.Struct == name && r.Field is null).SizeBytes;

    private static IEnumerable<AbiLayoutRow> Sorted(IEnumerable<AbiLayoutRow> rows) =>
        rows.OrderBy(r => r.Struct, StringComparer.Ordinal).ThenBy(r => r.Field, StringComparer.Ordinal);
}
