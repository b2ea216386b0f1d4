// One token, or the end, of one choice on its way from the loop to the consumer.
namespace SLoRA.Engine.Loop;

internal readonly record struct TokenEvent(int ChoiceIndex, int TokenId, float Logprob, int NumTop, FinishReason? Finish, bool IsStopToken);
