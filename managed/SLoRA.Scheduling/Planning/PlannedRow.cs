// One sequence in one step, in the words of the C ABI (slora_plan_row).
namespace SLoRA.Scheduling.Planning;

internal readonly record struct PlannedRow(ulong SequenceId, int NumTokens, int FirstToken, bool Sample);
