// The host's log lines, with stable event ids (1100-1199).
using Microsoft.Extensions.Logging;

namespace SLoRA.Hosting;

internal static partial class HostingLog
{
    [LoggerMessage(1100, LogLevel.Warning, "The shutdown's time is over; {Running} running sequences end with an error")]
    public static partial void DrainCut(ILogger logger, int running);
}
