// An answer in OpenAI's error shape, thrown from wherever it is found to be due.
using Microsoft.AspNetCore.Http;

namespace SLoRA.Server;

internal sealed class ApiException(int status, string message, string type, string? parameter = null, string? code = null) : Exception(message)
{
    public const string InvalidRequest = "invalid_request_error";

    public int Status { get; } = status;

    public string Type { get; } = type;

    public string? Parameter { get; } = parameter;

    public string? Code { get; } = code;

    public static ApiException Invalid(string message, string? parameter) => new(StatusCodes.Status400BadRequest, message, InvalidRequest, parameter);

    public static ApiException ModelNotFound(string model) =>
        new(StatusCodes.Status404NotFound, $"the model '{Shorten(model)}' does not exist", InvalidRequest, "model", "model_not_found");

    public static ApiException TooLarge(long limit) =>
        new(StatusCodes.Status413PayloadTooLarge, $"the body is larger than {limit} bytes", InvalidRequest, null, "body_too_large");

    public static ApiException NoSuchRoute(HttpRequest request) =>
        new(StatusCodes.Status404NotFound, $"there is no {request.Method} {Shorten(request.Path.Value ?? string.Empty)}", InvalidRequest, null, "unknown_url");

    // What the client sent goes into messages only so far: an answer must not grow with a hostile request.
    public static string Shorten(string text) => text.Length <= 100 ? text : string.Concat(text.AsSpan(0, 100), "…");
}
