// The native library's log lines to ILogger. The sink is one a process; the last engine loaded gets it.
using Microsoft.Extensions.Logging;
using SLoRA.Interop;
using SLoRA.Interop.Native;

namespace SLoRA.Engine;

internal static partial class NativeLogBridge
{
    public static void Connect(ILoggerFactory loggers)
    {
        var logger = loggers.CreateLogger("SLoRA.Native");
        NativeLog.SetSink((level, message) => Forward(logger, level, message), logger.IsEnabled(LogLevel.Debug) ? NativeLogLevel.Debug : NativeLogLevel.Info);
    }

    private static void Forward(ILogger logger, NativeLogLevel level, string message)
    {
        var mapped = level switch
        {
            NativeLogLevel.Debug => LogLevel.Debug,
            NativeLogLevel.Info => LogLevel.Information,
            NativeLogLevel.Warning => LogLevel.Warning,
            _ => LogLevel.Error,
        };
        NativeLine(logger, mapped, message);
    }

    [LoggerMessage(EventId = 1090, Message = "{Message}")]
    private static partial void NativeLine(ILogger logger, LogLevel level, string message);
}
