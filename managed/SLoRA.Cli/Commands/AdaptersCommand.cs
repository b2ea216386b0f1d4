// slora adapters: what a folder of adapters holds, as the engine sees it.
using System.CommandLine;
using System.Globalization;
using SLoRA.Cli.Display;
using Spectre.Console;

namespace SLoRA.Cli.Commands;

internal static class AdaptersCommand
{
    public static Command Create()
    {
        var engine = new EngineArguments();
        var command = new Command("adapters", "Lists the adapters of a folder: lora_rank, modules, bytes, pages, and what is wrong with the bad ones.");
        engine.AddTo(command);
        command.SetAction((parsed, ct) => RunAsync(engine.Read(parsed), ct));
        return command;
    }

    private static async Task<int> RunAsync(SLoRAOptions options, CancellationToken ct)
    {
        var folders = options.Adapters.Directories.ToArray();
        if (folders.Length == 0)
        {
            throw new ArgumentException("--adapters is missing: a folder of adapter folders is needed");
        }

        options.Adapters.Directories.Clear();
        var (engine, failures) = await LoadDisplay.RunAsync(progress => LoadAsync(options, folders, progress, ct)).ConfigureAwait(false);
        await using (engine.ConfigureAwait(false))
        {
            Print(engine, failures);
            return failures.Count == 0 ? 0 : 1;
        }
    }

    private static async Task<(SLoRAEngine Engine, List<AdapterFailure> Failures)> LoadAsync(
        SLoRAOptions options, string[] folders, IProgress<LoadProgress> progress, CancellationToken ct)
    {
        var engine = await SLoRAEngine.LoadAsync(options, progress, null, ct).ConfigureAwait(false);
        var failures = new List<AdapterFailure>();
        foreach (var folder in folders)
        {
            failures.AddRange(await engine.Adapters.LoadDirectoryAsync(folder, options.Adapters.Strict, progress, ct).ConfigureAwait(false));
        }

        return (engine, failures);
    }

    private static void Print(SLoRAEngine engine, List<AdapterFailure> failures)
    {
        var table = Tables.Create("adapter", "lora_rank", "modules", "bytes", "pages", "chat template");
        foreach (var adapter in engine.Adapters.Adapters)
        {
            table.AddRow(
                Markup.Escape(adapter.Name),
                adapter.LoraRank.ToString(CultureInfo.InvariantCulture),
                string.Join(' ', adapter.TargetModules),
                adapter.Bytes.ToString("N0", CultureInfo.InvariantCulture),
                adapter.Pages.ToString(CultureInfo.InvariantCulture),
                adapter.HasChatTemplate ? "own" : string.Empty);
        }

        Tables.Print(table);
        foreach (var failure in failures)
        {
            Console.Error.WriteLine($"{failure.Name}: {failure.Reason}");
        }
    }
}
