// How far a measurement of many parts is.
namespace SLoRA.Bench.Statistics;

/// Part: what the last or the next of them is, for a person.
internal readonly record struct PartProgress(string Part, int Done, int Total);
