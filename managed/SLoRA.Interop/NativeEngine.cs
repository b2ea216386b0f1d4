// The engine as a checked, disposable object. Nothing here allocates between Submit and Collect.

using SLoRA.Interop.Handles;
using SLoRA.Interop.Native;

namespace SLoRA.Interop;

/// <summary>
/// An engine on a model: one page pool, the sequences on it and the step. One thread at a time may call it, except
/// <see cref="Geometry"/>, <see cref="GetCounters"/>, <see cref="GetTraffic"/>, <see cref="GetPageOwners"/> and the load of adapters, which any thread
/// may. Disposing ends every sequence; its memory goes when its last adapter is disposed too.
/// </summary>
public sealed unsafe class NativeEngine : IDisposable
{
    private NativeEngine(EngineHandle handle)
    {
        Handle = handle;
        Geometry = ReadGeometry(handle);
    }

    /// <summary>The page arithmetic and limits in force.</summary>
    public NativeEngineGeometry Geometry { get; }

    internal EngineHandle Handle { get; }

    /// <summary>Creates an engine, takes its memory once and records the decode steps that most traffic has.</summary>
    /// <param name="model">The model; may be disposed before the engine.</param>
    /// <param name="options">Sizes: <c>NativeEngineOptions.Create() with { ... }</c>.</param>
    /// <param name="progress">Told the steps recorded, in place of bytes, as by <see cref="NativeModel.Load"/>.</param>
    /// <param name="cancellationToken">Ends the recording, and with it the creation.</param>
    /// <returns>The engine.</returns>
    /// <exception cref="OutOfDeviceMemoryException">The pool does not fit.</exception>
    /// <exception cref="SLoRAException">A size is outside its limits.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public static NativeEngine Create(
        NativeModel model,
        in NativeEngineOptions options,
        IProgress<NativeLoadProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        cancellationToken.ThrowIfCancellationRequested();
        using HandleLease lease = new(model.Handle);
        using LoadWatch watch = new(progress, cancellationToken);
        NativeError error = NativeError.Create();
        fixed (NativeEngineOptions* native = &options)
        {
            OpaqueEngine* engine = NativeMethods.EngineCreateWatched((OpaqueModel*)lease.Pointer, native, watch.Progress, &error);
            if (engine is null)
            {
                StatusErrors.Throw(error.Status, in error, NativeOperation.Engine, cancellationToken);
            }

            return new NativeEngine(new EngineHandle(engine));
        }
    }

    /// <summary>Creates a sequence: takes a slot and a reference on each adapter, no pages.</summary>
    /// <param name="sequenceId">Chosen by the caller, unique among live sequences, not 0.</param>
    /// <param name="promptTokens">At least one token; copied.</param>
    /// <param name="adapters">Its adapters and their factors; none: the base model.</param>
    /// <param name="maxTokens">Prompt and output in all; 0: the engine's longest context.</param>
    /// <param name="sampling">How its tokens are drawn.</param>
    /// <returns>False if every slot is taken, and then nothing changed.</returns>
    /// <exception cref="RequestInvalidException">A value is outside its limits; the message has both.</exception>
    /// <exception cref="AdapterNotFoundException">An adapter is not loaded.</exception>
    public bool TryCreateSequence(
        ulong sequenceId,
        ReadOnlySpan<int> promptTokens,
        ReadOnlySpan<NativeAdapterWeight> adapters,
        int maxTokens,
        NativeSampling sampling)
    {
        ArgumentNullException.ThrowIfNull(sampling);
        using HandleLease lease = new(Handle);
        NativeError error = NativeError.Create();
        NativeSequenceOptions options = NativeSequenceOptions.Create();
        fixed (int* tokens = promptTokens)
        fixed (NativeAdapterWeight* weights = adapters)
        fixed (NativeLogitBias* bias = sampling.LogitBias.Span)
        {
            options.SequenceId = sequenceId;
            options.PromptTokens = tokens;
            options.NumPromptTokens = (uint)promptTokens.Length;
            options.Adapters = weights;
            options.NumAdapters = (uint)adapters.Length;
            options.MaxTokens = checked((uint)maxTokens);
            NativeSamplingOptions drawing = sampling.ToNative();
            drawing.LogitBias = bias;
            drawing.NumLogitBias = (uint)sampling.LogitBias.Length;
            options.Sampling = &drawing;
            int status = NativeMethods.SequenceCreate((OpaqueEngine*)lease.Pointer, &options, &error);
            StatusErrors.ThrowIfFailed(status, in error, NativeOperation.CreateSequence);
            return status == (int)NativeStatus.Ok;
        }
    }

    /// <summary>Ends a sequence; rows of it in flight are reported as dropped.</summary>
    /// <param name="sequenceId">The sequence.</param>
    public void ReleaseSequence(ulong sequenceId)
    {
        using HandleLease lease = new(Handle);
        NativeError error = NativeError.Create();
        int status = NativeMethods.SequenceRelease((OpaqueEngine*)lease.Pointer, sequenceId, &error);
        StatusErrors.ThrowIfFailed(status, in error);
    }

    /// <summary>Takes a sequence's pages and keeps its history. Not legal while a step in flight names it.</summary>
    /// <param name="sequenceId">The sequence.</param>
    public void PreemptSequence(ulong sequenceId)
    {
        using HandleLease lease = new(Handle);
        NativeError error = NativeError.Create();
        int status = NativeMethods.SequencePreempt((OpaqueEngine*)lease.Pointer, sequenceId, &error);
        StatusErrors.ThrowIfFailed(status, in error);
    }

    /// <summary>Where a sequence stands.</summary>
    /// <param name="sequenceId">The sequence.</param>
    /// <returns>Its tokens and pages, steps in flight counted.</returns>
    public NativeSequenceInfo GetSequenceInfo(ulong sequenceId)
    {
        using HandleLease lease = new(Handle);
        NativeError error = NativeError.Create();
        NativeSequenceInfo info = NativeSequenceInfo.Create();
        int status = NativeMethods.SequenceGetInfo((OpaqueEngine*)lease.Pointer, sequenceId, &info, &error);
        StatusErrors.ThrowIfFailed(status, in error);
        return info;
    }

    /// <summary>Reserves pages and adapters for every row and starts the step: all or nothing. At most two are in flight.</summary>
    /// <param name="rows">One row a sequence, in any order.</param>
    /// <param name="prefetchAdapterIds">Adapters to make resident if pages allow; never defers.</param>
    /// <returns>Whether the step started, or what it waits for.</returns>
    /// <exception cref="SLoRAException">The plan contradicts the engine's state, or the engine is lost (IsFatal).</exception>
    public SubmitStatus Submit(ReadOnlySpan<NativePlanRow> rows, ReadOnlySpan<ulong> prefetchAdapterIds = default)
    {
        using HandleLease lease = new(Handle);
        NativeError error = NativeError.Create();
        NativePlan plan = NativePlan.Create();
        fixed (NativePlanRow* planRows = rows)
        fixed (ulong* prefetch = prefetchAdapterIds)
        {
            plan.NumRows = (uint)rows.Length;
            plan.Rows = planRows;
            plan.NumPrefetch = (uint)prefetchAdapterIds.Length;
            plan.PrefetchAdapterIds = prefetch;
            int status = NativeMethods.EngineSubmit((OpaqueEngine*)lease.Pointer, &plan, &error);
            StatusErrors.ThrowIfFailed(status, in error);
            return (SubmitStatus)status;
        }
    }

    /// <summary>Waits for the oldest step in flight and writes what it gave into <paramref name="buffers"/>.</summary>
    /// <param name="buffers">Room for the outcome; what it held before is overwritten.</param>
    /// <returns>False if no step is in flight.</returns>
    /// <exception cref="SLoRAException">A buffer is too small (nothing was collected), or the engine is lost (IsFatal).</exception>
    public bool Collect(StepBuffers buffers)
    {
        ArgumentNullException.ThrowIfNull(buffers);
        using HandleLease lease = new(Handle);
        NativeError error = NativeError.Create();
        NativeStepResult result = buffers.Describe();
        int status = NativeMethods.EngineCollect((OpaqueEngine*)lease.Pointer, &result, &error);
        StatusErrors.ThrowIfFailed(status, in error);
        buffers.Accept(status == (int)NativeStatus.Ok ? result : default);
        return status == (int)NativeStatus.Ok;
    }

    /// <summary>What rank 0 has exchanged with the other tensor-parallel ranks so far.</summary>
    /// <returns>Counts and bytes; all zero with one rank.</returns>
    public NativeTraffic GetTraffic()
    {
        using HandleLease lease = new(Handle);
        NativeError error = NativeError.Create();
        NativeTraffic traffic = NativeTraffic.Create();
        int status = NativeMethods.EngineGetTraffic((OpaqueEngine*)lease.Pointer, &traffic, &error);
        StatusErrors.ThrowIfFailed(status, in error);
        return traffic;
    }

    /// <summary>Where the pages are and what the pool has done so far. Any thread.</summary>
    /// <returns>A consistent picture of now.</returns>
    public NativePoolCounters GetCounters()
    {
        using HandleLease lease = new(Handle);
        NativeError error = NativeError.Create();
        NativePoolCounters counters = NativePoolCounters.Create();
        int status = NativeMethods.EngineGetCounters((OpaqueEngine*)lease.Pointer, &counters, &error);
        StatusErrors.ThrowIfFailed(status, in error);
        return counters;
    }

    /// <summary>Writes the owner of every page (<see cref="NativePageOwner"/>, one byte a page). Any thread.</summary>
    /// <param name="owners">At least <c>Geometry.NumPages</c> bytes.</param>
    public void GetPageOwners(Span<byte> owners)
    {
        using HandleLease lease = new(Handle);
        NativeError error = NativeError.Create();
        fixed (byte* bytes = owners)
        {
            int status = NativeMethods.EngineGetPageOwners((OpaqueEngine*)lease.Pointer, bytes, (ulong)owners.Length, &error);
            StatusErrors.ThrowIfFailed(status, in error);
        }
    }

    /// <summary>Proves the pool's invariants.</summary>
    /// <exception cref="SLoRAException">The broken invariant; the engine is lost.</exception>
    public void Check()
    {
        using HandleLease lease = new(Handle);
        NativeError error = NativeError.Create();
        StatusErrors.ThrowIfFailed(NativeMethods.EngineCheck((OpaqueEngine*)lease.Pointer, &error), in error);
    }

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();

    private static NativeEngineGeometry ReadGeometry(EngineHandle handle)
    {
        using HandleLease lease = new(handle);
        NativeEngineGeometry geometry = NativeEngineGeometry.Create();
        NativeError error = NativeError.Create();
        int status = NativeMethods.EngineGetGeometry((OpaqueEngine*)lease.Pointer, &geometry, &error);
        StatusErrors.ThrowIfFailed(status, in error);
        return geometry;
    }
}
