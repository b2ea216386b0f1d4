// One measured cell of the comparison table.
using SLoRA.Bench.Results;

namespace SLoRA.Bench.Paper;

/// What a cell measures; equal keys are the same cell.
internal sealed record PaperKey(string Set, int Adapters, string Mode, double Rate, double Seconds);

/// Run: which start of the command measured it. A control is a cell that the run did not lack: it
/// is measured anew, since runs may differ.
/// Report null: the mode cannot serve the cell, as the note says.
internal sealed record PaperCell(PaperKey Key, int Run, bool IsControl, ReplayReport? Report = null, string? Note = null)
{
    /// The report under the cell's set: where requests name no adapter the engine has none, and does not know what was merged.
    public ReplayReport? FiledReport() => Report is { Adapters: { } adapters } && adapters.Set != Key.Set ? Report with { Adapters = adapters with { Set = Key.Set } } : Report;
}
