// Who is told of the tokens of an observed request.
namespace SLoRA.Engine;

internal interface ITokenObserver
{
    /// `numTokens` more came; the last call has `isLast`, with the error if the request did not end by itself. Calls do not
    /// overlap; they come on the engine's own thread and must not block.
    void OnTokens(int numTokens, bool isLast, Exception? error);
}
