// The answers of the native engine that are values: negative statuses are exceptions and never get here.
namespace SLoRA.Engine.Native;

internal enum StepStatus
{
    Ok = 0,
    DeferredPages = 1,
    DeferredAdapter = 2,
    DeferredSlots = 3,
    DeferredStep = 4,
    NothingInFlight = 5,
}
