// Reads "adapter<TAB>prompt" lines (\n in a prompt stands for a line break) and writes "adapter<TAB>completion" lines. All
// lines are sent at once: the engine runs them in one batch, whatever their adapters.
using System.Text;

namespace SLoRA.Samples.Worker;

internal sealed partial class LineWorker(
    SLoRAEngine engine, IConfiguration configuration, IHostApplicationLifetime lifetime, ILogger<LineWorker> logger) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var path = configuration["Input"] ?? throw new InvalidOperationException("Input is not set: --Input=lines.txt");
        var lines = await File.ReadAllLinesAsync(path, stoppingToken);
        LogStart(lines.Length, engine.Info.ModelName, engine.Info.Backend);
        foreach (var answer in await Task.WhenAll(lines.Select(line => AnswerAsync(line, stoppingToken))))
        {
            Console.WriteLine(answer);
        }

        lifetime.StopApplication();
    }

    private async Task<string> AnswerAsync(string line, CancellationToken ct)
    {
        var parts = line.Split('\t', 2);
        var request = new GenerationRequest
        {
            Prompt = parts[1].Replace("\\n", "\n", StringComparison.Ordinal),
            Adapters = parts[0] == "base" ? [] : [parts[0]],
            MaxOutputTokens = 16,
        };
        var text = new StringBuilder();
        await foreach (var chunk in engine.GenerateAsync(request, ct))
        {
            text.Append(chunk.Text);
        }

        return $"{parts[0]}\t{text}";
    }

    [LoggerMessage(1, LogLevel.Information, "{Lines} lines for {Model} on {Backend}")]
    private partial void LogStart(int lines, string model, string backend);
}
