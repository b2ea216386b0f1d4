// Hands the bindings' byte counts on as the public progress.
using SLoRA.Interop;

namespace SLoRA.Engine.Native;

internal sealed class ByteProgress(IProgress<LoadProgress> target, string stage) : IProgress<NativeLoadProgress>
{
    public void Report(NativeLoadProgress value)
    {
        // Without a total there is nothing to do, or not yet.
        if (value.TotalBytes > 0)
        {
            target.Report(new LoadProgress(stage, (long)value.DoneBytes, (long)value.TotalBytes));
        }
    }
}
