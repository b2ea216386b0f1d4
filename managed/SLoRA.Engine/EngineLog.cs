// The engine's log lines, with stable event ids (1000-1099).
using Microsoft.Extensions.Logging;

namespace SLoRA.Engine;

internal static partial class EngineLog
{
    [LoggerMessage(1000, LogLevel.Information, "Model {Model} ({Architecture}, {Dtype}) on backend {Backend}: {Pages} pages of {TokensPerPage} tokens, {PageBytes} bytes each")]
    public static partial void EngineReady(ILogger logger, string model, string architecture, string dtype, string backend, int pages, int tokensPerPage, long pageBytes);

    [LoggerMessage(1001, LogLevel.Critical, "The engine's loop failed; every request ends with an error and the engine serves no more")]
    public static partial void LoopFaulted(ILogger logger, Exception error);

    [LoggerMessage(1002, LogLevel.Warning, "Request {RequestId} with {Tokens} tokens needs {Pages} pages and cannot get them even alone; the pool has {TotalPages}")]
    public static partial void RequestHopeless(ILogger logger, RequestId requestId, int tokens, int pages, int totalPages);

    [LoggerMessage(1003, LogLevel.Information, "Adapter {Adapter} loaded: lora_rank {LoraRank}, {Bytes} bytes, {Pages} pages")]
    public static partial void AdapterLoaded(ILogger logger, string adapter, int loraRank, long bytes, int pages);

    [LoggerMessage(1004, LogLevel.Warning, "Adapter {Adapter} was not loaded: {Reason}")]
    public static partial void AdapterFailed(ILogger logger, string adapter, string reason);

    [LoggerMessage(1005, LogLevel.Information, "Adapter {Adapter} unloaded")]
    public static partial void AdapterUnloaded(ILogger logger, string adapter);

    [LoggerMessage(1006, LogLevel.Information, "Adapter {Adapter} registered: {Path}")]
    public static partial void AdapterRegistered(ILogger logger, string adapter, string path);

    [LoggerMessage(1007, LogLevel.Warning, "The watched folder {Directory} cannot be read: {Reason}; its adapters are served on")]
    public static partial void WatchFailed(ILogger logger, string directory, string reason);

    [LoggerMessage(1008, LogLevel.Information, "Adapter {Adapter} in {Path} is not complete yet and will be looked at again")]
    public static partial void AdapterIncomplete(ILogger logger, string adapter, string path);

    [LoggerMessage(1009, LogLevel.Information, "{Recordings} decode steps recorded at start: {Bytes} bytes of device memory, {Seconds:F1} s")]
    public static partial void StepsRecorded(ILogger logger, int recordings, long bytes, double seconds);

    [LoggerMessage(1010, LogLevel.Error, "A look at the watched folder {Directory} failed; its adapters are served on and the next look follows")]
    public static partial void LookFailed(ILogger logger, string directory, Exception error);

    [LoggerMessage(1011, LogLevel.Warning, "No device memory for a step of {Rows} rows: {Reason}; a sequence gives way")]
    public static partial void StepWithoutMemory(ILogger logger, int rows, string reason);
}
