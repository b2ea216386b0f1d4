// Told of each collected step on the loop's thread; must neither block nor keep the plan or the outcome.
using SLoRA.Engine.Native;
using SLoRA.Scheduling.Planning;

namespace SLoRA.Engine.Loop;

internal interface IStepObserver
{
    void OnStep(BatchPlan plan, StepOutcome outcome);
}
