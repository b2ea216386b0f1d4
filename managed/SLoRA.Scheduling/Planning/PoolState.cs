// What the scheduler is told of the pool before each plan: the counters of the last collect (or a fresh reading), which
// count everything submitted up to then.
namespace SLoRA.Scheduling.Planning;

internal readonly record struct PoolState(int FreePages, int EvictablePages);
