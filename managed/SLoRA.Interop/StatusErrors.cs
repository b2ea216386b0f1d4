// Negative status → exception. Positive statuses are values and never come here, so the hot path does not throw.

using System.Diagnostics.CodeAnalysis;
using SLoRA.Interop.Native;

namespace SLoRA.Interop;

internal static class StatusErrors
{
    public static void ThrowIfFailed(int status, in NativeError error, NativeOperation operation = NativeOperation.Engine)
    {
        if (status < 0)
        {
            Throw(status, in error, operation);
        }
    }

    [DoesNotReturn]
    public static void Throw(int status, in NativeError error, NativeOperation operation, CancellationToken token = default)
    {
        string message = error.Message.ToString();
        throw Create((NativeStatus)status, message.Length > 0 ? message : $"status {status}", error.Site.ToString(), operation, token);
    }

    private static Exception Create(
        NativeStatus status, string message, string site, NativeOperation operation, CancellationToken token)
    {
        int code = (int)status;
        return (status, operation) switch
        {
            (NativeStatus.ErrorCancelled, _) => new OperationCanceledException(message, token),
            (NativeStatus.ErrorOutOfMemory, _) => new OutOfDeviceMemoryException(code, message) { Site = site },
            (_, NativeOperation.LoadModel) when !IsFatal(code) => new ModelLoadException(code, message) { Site = site },
            (NativeStatus.ErrorFormat or NativeStatus.ErrorUnsupported, NativeOperation.LoadAdapter) =>
                new AdapterIncompatibleException(code, message) { Site = site },
            (NativeStatus.ErrorNotFound, NativeOperation.CreateSequence) =>
                new AdapterNotFoundException("", message) { Status = code, Site = site },
            (NativeStatus.ErrorInvalidArgument, NativeOperation.CreateSequence) =>
                new RequestInvalidException(message) { Status = code, Site = site },
            _ => new SLoRAException(code, message) { Site = site },
        };
    }

    private static bool IsFatal(int status) => status <= -300;
}
