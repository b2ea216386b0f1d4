// How far a replay is.
namespace SLoRA.Bench.Replay;

internal readonly record struct ReplayProgress(int Sent, int Ended, int Total, double Seconds, long OutputTokens);
