// The options that every command with an engine has.
using System.CommandLine;

namespace SLoRA.Cli.Commands;

internal sealed class EngineArguments
{
    private readonly Option<string> _model = new("--model") { Description = "Folder of the base model (Hugging Face)." };
    private readonly Option<string?> _adapters = new("--adapters") { Description = "Folder of adapter folders (PEFT); an adapter's name is its folder's." };
    private readonly Option<string> _dtype = new("--dtype") { Description = "Compute format.", DefaultValueFactory = _ => "bf16" };
    private readonly Option<string> _backend = new("--backend") { Description = "Where to compute; never falls back from what was asked for.", DefaultValueFactory = _ => "auto" };
    private readonly Option<int> _threads = new("--threads") { Description = "Host compute threads; 0: one a core." };
    private readonly Option<long> _poolBytes = new("--pool-bytes") { Description = "Bytes of the page pool; 0: a rule by free memory." };
    private readonly Option<int> _maxBatchTokens = new("--max-batch-tokens") { Description = "Most tokens in one step; 0: 2048." };
    private readonly Option<int> _maxSequences = new("--max-sequences") { Description = "Most sequences at a time; 0: 256." };
    private readonly Option<string> _record = new("--record") { Description = "When decode steps are recorded as CUDA graphs; auto: at start on CUDA, off on the host.", DefaultValueFactory = _ => "auto" };
    private readonly Option<int> _maxRecordings = new("--max-recordings") { Description = "Recorded steps kept; 0: 512." };
    private readonly Option<long> _recordingBytes = new("--recording-bytes") { Description = "Device memory that they may hold; 0: 512 MiB, or a quarter of what is free if that is less." };
    private readonly Option<bool> _strict = new("--strict") { Description = "Stop if an adapter cannot be loaded." };

    private readonly Option<int> _tp = new("--tp") { Description = "Tensor-parallel ranks.", DefaultValueFactory = _ => 1 };
    private readonly Option<string> _loraSharding = new("--lora-sharding") { Description = "How the ranks share out LoRA updates.", DefaultValueFactory = _ => "aligned" };
    private readonly Option<int[]> _tpDevices = new("--tp-devices") { Description = "The ranks' CUDA devices; without it 0 and those after it.", AllowMultipleArgumentsPerToken = true };
    private readonly Option<string?> _tpListen = new("--tp-listen") { Description = "host:port at which the other ranks are awaited, which are 'slora worker' processes; without it they are threads." };
    private readonly Option<int> _joinLimit = new("--join-limit") { Description = "Seconds to wait for them to come.", DefaultValueFactory = _ => 60 };
    private readonly Option<int> _tpLimit = new("--tp-limit") { Description = "Seconds after which a rank that does not answer counts as lost.", DefaultValueFactory = _ => 30 };
    private readonly SecretArgument _secret = new();

    private readonly bool _hasAdapters;

    /// `requiresModel` false: another option may name the model instead. `hasAdapters` false: no adapter is read from files.
    public EngineArguments(bool requiresModel = true, bool hasAdapters = true)
    {
        _hasAdapters = hasAdapters;
        _model.Required = requiresModel;
        _loraSharding.AcceptOnlyFromAmong("aligned", "full");
        _record.AcceptOnlyFromAmong("auto", "off", "on-use", "at-start");
        _dtype.AcceptOnlyFromAmong("bf16", "f32", "f16");
        _backend.AcceptOnlyFromAmong("auto", "host", "cuda");
    }

    public static string RequireFolder(string path, string option) =>
        Directory.Exists(path) ? path : throw new DirectoryNotFoundException($"{option} is '{path}', which is not a folder");

    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { _model, _dtype, _backend, _threads, _poolBytes, _maxBatchTokens, _maxSequences, _record, _maxRecordings, _recordingBytes, _tp, _loraSharding, _tpDevices, _tpListen, _joinLimit, _tpLimit })
        {
            command.Options.Add(option);
        }

        _secret.AddTo(command);
        if (_hasAdapters)
        {
            command.Options.Add(_adapters);
            command.Options.Add(_strict);
        }
    }

    public string? AdaptersFolder(ParseResult parsed) => parsed.GetValue(_adapters);

    public SLoRAOptions Read(ParseResult parsed)
    {
        var options = new SLoRAOptions();
        Fill(parsed, options);
        return options;
    }

    public void Fill(ParseResult parsed, SLoRAOptions options)
    {
        if (parsed.GetValue(_model) is { } model)
        {
            options.Model.Path = RequireFolder(model, "--model");
        }

        options.Model.Dtype = parsed.GetValue(_dtype) switch { "f32" => ComputeDtype.F32, "f16" => ComputeDtype.F16, _ => ComputeDtype.Bf16 };
        options.Native.Backend = parsed.GetValue(_backend) switch { "host" => ComputeBackend.Host, "cuda" => ComputeBackend.Cuda, _ => ComputeBackend.Auto };
        options.Native.NumThreads = parsed.GetValue(_threads);
        options.Memory.PoolBytes = parsed.GetValue(_poolBytes);
        options.Scheduler.MaxBatchTokens = parsed.GetValue(_maxBatchTokens);
        options.Scheduler.MaxSequences = parsed.GetValue(_maxSequences);
        options.Recording.When = parsed.GetValue(_record) switch { "off" => StepRecording.Off, "on-use" => StepRecording.OnUse, "at-start" => StepRecording.AtStart, _ => StepRecording.Default };
        options.Recording.MaxRecordings = parsed.GetValue(_maxRecordings);
        options.Recording.Bytes = parsed.GetValue(_recordingBytes);
        options.Adapters.Strict = parsed.GetValue(_strict);
        FillRanks(parsed, options.TensorParallel);
        if (AdaptersFolder(parsed) is { } folder)
        {
            options.Adapters.Directories.Add(RequireFolder(folder, "--adapters"));
        }
    }

    private void FillRanks(ParseResult parsed, TensorParallelOptions options)
    {
        options.Size = parsed.GetValue(_tp);
        options.LoraSharding = parsed.GetValue(_loraSharding) == "full" ? LoraSharding.Full : LoraSharding.Aligned;
        foreach (var device in parsed.GetValue(_tpDevices) ?? [])
        {
            options.Devices.Add(device);
        }

        options.Listen = parsed.GetValue(_tpListen);
        options.Secret = _secret.Read(parsed);
        options.JoinLimitSeconds = parsed.GetValue(_joinLimit);
        options.TimeLimitSeconds = parsed.GetValue(_tpLimit);
    }
}
