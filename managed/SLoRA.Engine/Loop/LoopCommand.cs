// What other threads ask of the loop.
namespace SLoRA.Engine.Loop;

internal enum LoopCommandKind
{
    Start,
    Cancel,
    Run,
}

// ChoiceIndex -1: all choices. Action: run on the loop's thread.
internal readonly record struct LoopCommand(LoopCommandKind Kind, RequestTicket? Ticket, int ChoiceIndex, Action? Action);
