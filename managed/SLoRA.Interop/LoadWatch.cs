// The other side of slora_progress: while the calling thread is inside a load, a timer reads the counters and a
// cancellation writes the flag.

using System.Runtime.InteropServices;
using SLoRA.Interop.Native;

namespace SLoRA.Interop;

internal sealed unsafe class LoadWatch : IDisposable
{
    private static readonly TimeSpan s_interval = TimeSpan.FromMilliseconds(50);

    private readonly IProgress<NativeLoadProgress>? _observer;
    private readonly CancellationTokenRegistration _registration;
    private readonly Timer? _timer;

    public LoadWatch(IProgress<NativeLoadProgress>? observer, CancellationToken token)
    {
        Progress = (NativeProgress*)NativeMemory.Alloc((nuint)sizeof(NativeProgress));
        *Progress = NativeProgress.Create();
        _observer = observer;
        _registration = token.UnsafeRegister(static w => ((LoadWatch)w!).Cancel(), this);
        _timer = observer is null ? null : new Timer(static w => ((LoadWatch)w!).Report(), this, s_interval, s_interval);
    }

    /// <summary>What the library reads and writes.</summary>
    public NativeProgress* Progress { get; private set; }

    public void Dispose()
    {
        // Both wait for a callback that is running: after them nobody reads the memory.
        _registration.Dispose();
        if (_timer is not null)
        {
            using ManualResetEvent stopped = new(false);
            if (_timer.Dispose(stopped))
            {
                stopped.WaitOne();
            }

            Report();
        }

        NativeMemory.Free(Progress);
        Progress = null;
    }

    private void Cancel() => Volatile.Write(ref Progress->Cancel, 1);

    private void Report() => _observer!.Report(
        new NativeLoadProgress(Volatile.Read(ref Progress->DoneBytes), Volatile.Read(ref Progress->TotalBytes)));
}
