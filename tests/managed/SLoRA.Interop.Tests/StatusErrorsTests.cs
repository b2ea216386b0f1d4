// Which exception a status becomes: what the layers above catch.

using System.Text;
using SLoRA.Interop.Native;

namespace SLoRA.Interop.Tests;

public sealed class StatusErrorsTests
{
    [Theory]
    [InlineData(NativeStatus.ErrorInvalidPlan, "Engine", typeof(SLoRAException))]
    [InlineData(NativeStatus.ErrorInternal, "Engine", typeof(SLoRAException))]
    [InlineData(NativeStatus.ErrorRankLost, "Engine", typeof(SLoRAException))]
    [InlineData(NativeStatus.ErrorRankLost, "LoadModel", typeof(SLoRAException))]
    [InlineData(NativeStatus.ErrorOutOfMemory, "Engine", typeof(OutOfDeviceMemoryException))]
    [InlineData(NativeStatus.ErrorIo, "LoadModel", typeof(ModelLoadException))]
    [InlineData(NativeStatus.ErrorBackend, "LoadModel", typeof(ModelLoadException))]
    [InlineData(NativeStatus.ErrorOutOfMemory, "LoadModel", typeof(OutOfDeviceMemoryException))]
    [InlineData(NativeStatus.ErrorCancelled, "LoadModel", typeof(OperationCanceledException))]
    [InlineData(NativeStatus.ErrorFormat, "LoadAdapter", typeof(AdapterIncompatibleException))]
    [InlineData(NativeStatus.ErrorUnsupported, "LoadAdapter", typeof(AdapterIncompatibleException))]
    [InlineData(NativeStatus.ErrorIo, "LoadAdapter", typeof(SLoRAException))]
    [InlineData(NativeStatus.ErrorNotFound, "CreateSequence", typeof(AdapterNotFoundException))]
    [InlineData(NativeStatus.ErrorInvalidArgument, "CreateSequence", typeof(RequestInvalidException))]
    [InlineData(NativeStatus.ErrorAlreadyExists, "CreateSequence", typeof(SLoRAException))]
    public void A_status_becomes_the_exception_of_its_operation(NativeStatus status, string operation, Type expected)
    {
        NativeError error = Error("rows 9: at most 8");

        Exception e = Assert.ThrowsAny<Exception>(
            () => StatusErrors.ThrowIfFailed((int)status, in error, Enum.Parse<NativeOperation>(operation)));

        Assert.Equal(expected, e.GetType());
        Assert.Equal("rows 9: at most 8", e.Message);
        if (e is SLoRAException ours)
        {
            Assert.Equal(((int)status, "plan.cpp:12"), (ours.Status, ours.Site));
            Assert.Equal((int)status <= -300, ours.IsFatal);
        }
    }

    [Theory]
    [InlineData(NativeStatus.Ok)]
    [InlineData(NativeStatus.DeferredPages)]
    [InlineData(NativeStatus.NothingInFlight)]
    public void What_is_not_negative_does_not_throw(NativeStatus status)
    {
        NativeError error = NativeError.Create();

        StatusErrors.ThrowIfFailed((int)status, in error);
    }

    private static NativeError Error(string message)
    {
        NativeError error = NativeError.Create();
        Encoding.UTF8.GetBytes(message, error.Message);
        Encoding.UTF8.GetBytes("plan.cpp:12", error.Site);
        return error;
    }
}
