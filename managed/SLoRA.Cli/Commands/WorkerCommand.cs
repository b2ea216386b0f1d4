// slora worker: a rank of a model that another process serves.
using System.CommandLine;
using Microsoft.Extensions.Logging;

namespace SLoRA.Cli.Commands;

internal static class WorkerCommand
{
    public static Command Create()
    {
        var rank = new Option<int>("--rank") { Description = "This process's rank, from 1.", Required = true };
        var join = new Option<string>("--join") { Description = "host:port at which rank 0 awaits (--tp-listen).", Required = true };
        var model = new Option<string?>("--model") { Description = "Folder of the base model here; without it where rank 0 has it." };
        var device = new Option<int>("--device") { Description = "CUDA device." };
        var threads = new Option<int>("--threads") { Description = "Host compute threads; 0: one a core." };
        var joinSeconds = new Option<int>("--join-limit") { Description = "Seconds to wait for the other ranks to come.", DefaultValueFactory = _ => 60 };
        var limitSeconds = new Option<int>("--tp-limit") { Description = "Seconds after which a rank that does not answer counts as lost.", DefaultValueFactory = _ => 30 };
        var secret = new SecretArgument();
        var command = new Command("worker", "Runs one tensor-parallel rank of a model that another process serves, until that process lets go.")
        {
            rank, join, model, device, threads, joinSeconds, limitSeconds,
        };
        secret.AddTo(command);
        command.SetAction((parsed, ct) => RunAsync(
            new WorkerOptions
            {
                TensorParallelRank = parsed.GetValue(rank),
                Join = parsed.GetValue(join)!,
                Secret = secret.Read(parsed),
                ModelPath = parsed.GetValue(model),
                Native = new NativeOptions { DeviceIndex = parsed.GetValue(device), NumThreads = parsed.GetValue(threads) },
                JoinLimitSeconds = parsed.GetValue(joinSeconds),
                TimeLimitSeconds = parsed.GetValue(limitSeconds),
            },
            ct));
        return command;
    }

    private static async Task<int> RunAsync(WorkerOptions options, CancellationToken ct)
    {
        using var loggers = LoggerFactory.Create(builder => builder.AddSimpleConsole(console => console.SingleLine = true));
        await SLoRAWorker.RunAsync(options, loggers, ct).ConfigureAwait(false);
        return 0;
    }
}
