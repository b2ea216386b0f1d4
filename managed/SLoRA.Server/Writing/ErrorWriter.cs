// Exceptions to OpenAI's error shape and the right status.
using System.Globalization;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace SLoRA.Server.Writing;

internal static partial class ErrorWriter
{
    private const string ServerError = "server_error";

    /// Runs a handler and turns what it throws into an answer, if none was begun.
    public static async Task GuardAsync(HttpContext context, RequestDelegate handler)
    {
        try
        {
            await handler(context).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            // The client left; nobody reads an answer.
        }
#pragma warning disable CA1031 // whatever it is, the client gets an answer and the server goes on
        catch (Exception error)
#pragma warning restore CA1031
        {
            await WriteAsync(context, error).ConfigureAwait(false);
        }
    }

    public static ApiException Translate(Exception error) => error switch
    {
        ApiException api => api,
        RequestInvalidException invalid => ApiException.Invalid(invalid.Message, invalid.Param),
        AdapterNotFoundException missing => ApiException.ModelNotFound(missing.AdapterName),
        AdapterIncompatibleException bad => new(StatusCodes.Status400BadRequest, bad.Message, ApiException.InvalidRequest, "lora_path", "adapter_incompatible"),
        QueueFullException full => new(StatusCodes.Status429TooManyRequests, full.Message, "rate_limit_error", null, "queue_full"),
        OutOfDeviceMemoryException memory => new(StatusCodes.Status503ServiceUnavailable, memory.Message, ServerError, null, "out_of_memory"),
        SLoRAException engine => new(StatusCodes.Status503ServiceUnavailable, engine.Message, ServerError, null, "engine_unavailable"),
        BadHttpRequestException http => new(http.StatusCode, http.Message, ApiException.InvalidRequest),
        _ => new(StatusCodes.Status500InternalServerError, "an internal error occurred", ServerError, null, "internal_error"),
    };

    public static ErrorBody ToBody(ApiException error) => new(new ErrorObject(error.Message, error.Type, error.Parameter, error.Code));

    private static async Task WriteAsync(HttpContext context, Exception error)
    {
        var api = Translate(error);
        if (api.Status >= StatusCodes.Status500InternalServerError)
        {
            Failed(Logger(context), context.Request.Path.Value ?? string.Empty, error);
        }

        if (context.Response.HasStarted)
        {
            context.Abort();
            return;
        }

        if (error is QueueFullException full)
        {
            context.Response.Headers.RetryAfter = Math.Ceiling(full.RetryAfter.TotalSeconds).ToString(CultureInfo.InvariantCulture);
        }

        await JsonAnswers.WriteAsync(context, ToBody(api), ApiJson.Default.ErrorBody, api.Status).ConfigureAwait(false);
    }

    private static ILogger Logger(HttpContext context) =>
        context.RequestServices.GetRequiredService<ILoggerFactory>().CreateLogger("SLoRA.Server");

    [LoggerMessage(1200, LogLevel.Error, "Request to {Path} failed")]
    private static partial void Failed(ILogger logger, string path, Exception error);
}
