// What an engine is put together from. Loading makes the real parts; tests put in a fake native engine.
using Microsoft.Extensions.Logging;
using SLoRA.Engine.Native;
using SLoRA.Engine.Text;
using SLoRA.Tokenizers;

namespace SLoRA.Engine;

internal sealed record EngineParts
{
    public required INativeEngine Native { get; init; }

    public required ITokenizer Tokenizer { get; init; }

    public RenderChat? ModelTemplate { get; init; }

    public required IAdapterFolderReader Folders { get; init; }

    public required EngineInfo Info { get; init; }

    public IReadOnlyList<IAdapterResolver> Resolvers { get; init; } = [];

    public SchedulerOptions Scheduler { get; init; } = new();

    public ExperimentOptions Experiment { get; init; } = new();

    public TimeProvider Time { get; init; } = TimeProvider.System;

    public required ILoggerFactory Loggers { get; init; }
}
