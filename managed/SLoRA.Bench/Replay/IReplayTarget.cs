// What a trace is replayed against.
namespace SLoRA.Bench.Replay;

internal interface IReplayTarget
{
    /// Sends a request and returns at once; its observer is told what comes. Throws what refuses it.
    void Send(ReplayRequest request);

    /// Ends all that has not ended; their observers are told with an OperationCanceledException.
    void Stop();
}
