// Reads a stream on the waker's thread instead of a task of its own: a step of hundreds of rows then costs no scheduling.
namespace SLoRA.Engine.Loop;

internal interface IStreamObserver
{
    /// There may be something to read or an error. Usually the waker's thread; another one when the loop closes.
    void OnWake(TokenStream stream);
}
