// What one request came to, for meters.
namespace SLoRA.Engine;

internal readonly record struct RequestSummary(
    string? Adapter, TimeSpan Duration, TimeSpan? TimeToFirstToken, TokenUsage Usage, Exception? Error);
