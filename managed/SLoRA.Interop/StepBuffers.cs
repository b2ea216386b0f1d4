// The memory a step's outcome is written to: arrays on the pinned heap, allocated once and reused by every step, so that
// the library may write to them by address and the garbage collector has nothing to do.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using SLoRA.Interop.Native;

namespace SLoRA.Interop;

/// <summary>
/// Room for the outcome of one step. Spans are valid until the next <see cref="NativeEngine.Collect"/> with these buffers.
/// </summary>
public sealed unsafe class StepBuffers
{
    private const int DefaultEvents = 1024;

    private readonly NativeRowResult[] _rows;
    private readonly NativeResidencyEvent[] _events;
    private NativeTokenLogprob[] _logprobs;
    private float[] _logits;
    private readonly NativePoolCounters[] _pool;
    private NativeStepResult _result;

    /// <summary>Creates buffers that fit every step of an engine, except for logits.</summary>
    /// <param name="geometry">The engine's limits.</param>
    /// <param name="logitTokens">Tokens of a step whose logits are returned; see <see cref="EnsureLogitTokens"/>.</param>
    public StepBuffers(in NativeEngineGeometry geometry, int logitTokens = 0)
    {
        VocabSize = checked((int)geometry.VocabSize);
        _rows = Allocate<NativeRowResult>(checked((int)geometry.MaxBatchRows));
        _events = Allocate<NativeResidencyEvent>(DefaultEvents);
        _logprobs = Allocate<NativeTokenLogprob>(checked((int)(geometry.MaxBatchRows * geometry.MaxLogprobs)));
        _logits = Allocate<float>(checked(logitTokens * VocabSize));
        _pool = Allocate<NativePoolCounters>(1);
    }

    /// <summary>Logits of one token.</summary>
    public int VocabSize { get; }

    /// <summary>What each row gave, in the order of the plan's rows.</summary>
    public ReadOnlySpan<NativeRowResult> Rows => _rows.AsSpan(0, (int)_result.NumRows);

    /// <summary>Adapters that became resident or lost their pages.</summary>
    public ReadOnlySpan<NativeResidencyEvent> Events => _events.AsSpan(0, (int)_result.NumEvents);

    /// <summary>0 for the first step of the engine.</summary>
    public ulong StepIndex => _result.StepIdx;

    /// <summary>Time the step took on the device.</summary>
    public TimeSpan DeviceTime => TimeSpan.FromTicks((long)_result.DeviceNs / TimeSpan.NanosecondsPerTick);

    /// <summary>The pool after the step.</summary>
    public ref readonly NativePoolCounters Pool => ref _pool[0];

    /// <summary>The most likely tokens of a row's sampled token, most likely first.</summary>
    /// <param name="row">One of <see cref="Rows"/>.</param>
    /// <returns>As many as its sequence asked for.</returns>
    public ReadOnlySpan<NativeTokenLogprob> LogprobsOf(in NativeRowResult row) =>
        row.NumLogprobs == 0 ? [] : _logprobs.AsSpan(checked((int)row.LogprobsOffset), (int)row.NumLogprobs);

    /// <summary>The logits of a row, [NumLogitTokens, VocabSize].</summary>
    /// <param name="row">One of <see cref="Rows"/>.</param>
    /// <returns>Empty if the row did not ask for them.</returns>
    public ReadOnlySpan<float> LogitsOf(in NativeRowResult row) =>
        row.NumLogitTokens == 0
            ? []
            : _logits.AsSpan(checked((int)row.LogitsOffset), checked((int)row.NumLogitTokens * VocabSize));

    /// <summary>Makes room for the logits of a step; allocates only if there is too little.</summary>
    /// <param name="tokens">Tokens of the step's rows that ask for logits.</param>
    public void EnsureLogitTokens(int tokens)
    {
        int floats = checked(tokens * VocabSize);
        if (_logits.Length < floats)
        {
            _logits = Allocate<float>(floats);
        }
    }

    /// <summary>The room, as the library wants it.</summary>
    internal NativeStepResult Describe()
    {
        NativeStepResult result = NativeStepResult.Create();
        result.Rows = AddressOf(_rows);
        result.RowsCapacity = (ulong)_rows.Length;
        result.Logprobs = AddressOf(_logprobs);
        result.LogprobsCapacity = (ulong)_logprobs.Length;
        result.Logits = AddressOf(_logits);
        result.LogitsCapacity = (ulong)_logits.Length;
        result.Events = AddressOf(_events);
        result.EventsCapacity = (ulong)_events.Length;
        _pool[0] = NativePoolCounters.Create();
        result.Pool = AddressOf(_pool);
        return result;
    }

    /// <summary>Takes the counts that the library wrote.</summary>
    internal void Accept(in NativeStepResult result) => _result = result;

    private static T[] Allocate<T>(int count)
        where T : unmanaged => GC.AllocateArray<T>(count, pinned: true);

    // Null for an empty array: the library reads capacity 0 as "not wanted".
    private static T* AddressOf<T>(T[] pinned)
        where T : unmanaged =>
        pinned.Length == 0 ? null : (T*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(pinned));
}
