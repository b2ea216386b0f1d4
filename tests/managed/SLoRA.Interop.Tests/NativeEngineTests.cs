// The checked layer over the real library, on a tiny model with random weights.

using SLoRA.Interop.Native;

namespace SLoRA.Interop.Tests;

public sealed class NativeEngineTests : IDisposable
{
    private const ulong Sequence = 11;
    private static readonly int[] s_prompt = [1, 2, 3, 4];
    private readonly NativeModel _model = NativeTestLibrary.LoadModel();
    private readonly NativeEngine _engine;
    private readonly StepBuffers _buffers;

    public NativeEngineTests()
    {
        _engine = NativeTestLibrary.CreateEngine(_model);
        _buffers = new StepBuffers(_engine.Geometry);
    }

    public void Dispose()
    {
        _engine.Dispose();
        _model.Dispose();
    }

    [Fact]
    public void A_step_samples_a_token()
    {
        Create(Sequence);

        Assert.Equal(SubmitStatus.Submitted, _engine.Submit([Prefill(Sequence)]));
        Assert.True(_engine.Collect(_buffers));

        NativeRowResult row = Assert.Single(_buffers.Rows.ToArray());
        Assert.Equal(Sequence, row.SequenceId);
        Assert.Equal((uint)NativeRowResultFlags.Sampled, row.Flags);
        Assert.InRange(row.TokenId, 0, (int)_engine.Geometry.VocabSize - 1);
        Assert.Equal(0ul, _buffers.StepIndex);
        Assert.True(_buffers.DeviceTime > TimeSpan.Zero);
        Assert.Equal(_engine.Geometry.NumPages, _buffers.Pool.TotalPages);
        Assert.Equal((5u, 4u), (_engine.GetSequenceInfo(Sequence).NumTokens, _engine.GetSequenceInfo(Sequence).NumComputed));
    }

    [Fact]
    public void Two_steps_may_be_in_flight_and_the_third_waits()
    {
        Create(Sequence);

        Assert.Equal(SubmitStatus.Submitted, _engine.Submit([Prefill(Sequence)]));
        Assert.Equal(SubmitStatus.Submitted, _engine.Submit([Decode(Sequence, 4)]));
        Assert.Equal(SubmitStatus.DeferredStep, _engine.Submit([Decode(Sequence, 5)]));
        Assert.True(_engine.Collect(_buffers));
        Assert.True(_engine.Collect(_buffers));
        Assert.False(_engine.Collect(_buffers));
        Assert.True(_buffers.Rows.IsEmpty);
    }

    [Fact]
    public void Logits_need_room_and_a_refused_collect_can_be_repeated()
    {
        Create(Sequence);
        _engine.Submit([new NativePlanRow(Sequence, 0, 4, NativeRowFlags.Logits)]);

        SLoRAException e = Assert.Throws<SLoRAException>(() => _engine.Collect(_buffers));
        Assert.Equal((int)NativeStatus.ErrorInvalidArgument, e.Status);
        _buffers.EnsureLogitTokens(4);
        Assert.True(_engine.Collect(_buffers));

        Assert.Equal(4 * _buffers.VocabSize, _buffers.LogitsOf(_buffers.Rows[0]).Length);
    }

    [Fact]
    public void A_wrong_plan_is_an_error_that_leaves_the_engine_usable()
    {
        Create(Sequence);

        SLoRAException e = Assert.Throws<SLoRAException>(() => _engine.Submit([Decode(Sequence, 3)]));

        Assert.Equal((int)NativeStatus.ErrorInvalidPlan, e.Status);
        Assert.False(e.IsFatal);
        Assert.Equal(SubmitStatus.Submitted, _engine.Submit([Prefill(Sequence)]));
        _engine.Check();
    }

    [Fact]
    public void Slots_run_out_without_an_exception_and_come_back()
    {
        for (ulong id = 1; id <= _engine.Geometry.MaxSequences; id++)
        {
            Create(id);
        }

        Assert.False(_engine.TryCreateSequence(99, s_prompt, [], 0, new NativeSampling()));
        _engine.ReleaseSequence(1);
        Assert.True(_engine.TryCreateSequence(99, s_prompt, [], 0, new NativeSampling()));
    }

    [Fact]
    public void Refusals_have_the_type_of_their_cause()
    {
        Assert.Throws<RequestInvalidException>(() => _engine.TryCreateSequence(1, [], [], 0, new NativeSampling()));
        NativeAdapterWeight[] unknown = [new() { AdapterId = 12345, Weight = 1 }];
        Assert.Throws<AdapterNotFoundException>(() => _engine.TryCreateSequence(1, s_prompt, unknown, 0, new NativeSampling()));
        SLoRAException e = Assert.Throws<SLoRAException>(() => _engine.ReleaseSequence(404));
        Assert.Equal((int)NativeStatus.ErrorNotFound, e.Status);
        NativeEngineOptions odd = NativeEngineOptions.Create();
        odd.TokensPerPage = 3;
        Assert.Throws<SLoRAException>(() => NativeEngine.Create(_model, odd, null, TestContext.Current.CancellationToken));
    }

    [Fact]
    public void A_preempted_sequence_computes_its_history_again()
    {
        Create(Sequence);
        _engine.Submit([Prefill(Sequence)]);
        _engine.Collect(_buffers);

        _engine.PreemptSequence(Sequence);

        Assert.Equal((5u, 0u), (_engine.GetSequenceInfo(Sequence).NumTokens, _engine.GetSequenceInfo(Sequence).NumComputed));
        Assert.Equal(
            SubmitStatus.Submitted, _engine.Submit([new NativePlanRow(Sequence, 0, 5, NativeRowFlags.Sample)]));
    }

    [Fact]
    public void The_page_map_has_a_byte_a_page()
    {
        byte[] owners = new byte[_engine.Geometry.NumPages];
        Array.Fill(owners, (byte)0xFF);

        _engine.GetPageOwners(owners);

        Assert.All(owners, o => Assert.Equal((byte)NativePageOwner.Free, o));
        Assert.Equal(_engine.Geometry.NumPages, _engine.GetCounters().FreePages);
        Assert.Throws<SLoRAException>(() => _engine.GetPageOwners(owners.AsSpan(1)));
    }

    [Fact]
    public void A_steady_step_allocates_nothing()
    {
        Create(Sequence);
        NativePlanRow[] rows = [Prefill(Sequence)];
        uint next = Steps(rows, first: 0, count: 20);

        long before = GC.GetAllocatedBytesForCurrentThread();
        Steps(rows, next, count: 50);

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void A_disposed_engine_says_so()
    {
        _engine.Dispose();

        Assert.Throws<ObjectDisposedException>(() => _engine.Submit([Prefill(Sequence)]));
    }

    private uint Steps(NativePlanRow[] rows, uint first, int count)
    {
        for (int i = 0; i < count; i++)
        {
            rows[0] = first == 0 ? Prefill(Sequence) : Decode(Sequence, first);
            first += rows[0].NumTokens;
            if (_engine.Submit(rows) != SubmitStatus.Submitted || !_engine.Collect(_buffers))
            {
                Assert.Fail($"step {i} did not run");
            }
        }

        return first;
    }

    private void Create(ulong id) => Assert.True(_engine.TryCreateSequence(id, s_prompt, [], 0, new NativeSampling()));

    private static NativePlanRow Prefill(ulong id) => new(id, 0, (uint)s_prompt.Length, NativeRowFlags.Sample);

    private static NativePlanRow Decode(ulong id, uint first) => new(id, first, 1, NativeRowFlags.Sample);
}
