// A tensor-parallel rank after the first, as this process: no scheduler, no tokens, no requests.
using System.ComponentModel.DataAnnotations;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using SLoRA.Engine;
using SLoRA.Interop;

namespace SLoRA;

/// <summary>Runs a rank of a model whose rank 0 is a <see cref="SLoRAEngine"/> in another process.</summary>
public static class SLoRAWorker
{
    /// <summary>Joins rank 0, loads this rank's part of its model and follows it until it lets go.</summary>
    /// <param name="options">Which rank of whose model.</param>
    /// <param name="loggers">Where the native library's lines go; null: nowhere.</param>
    /// <param name="ct">Ends the wait, not the rank: end the process then.</param>
    /// <exception cref="ArgumentException">An option is wrong.</exception>
    /// <exception cref="ModelLoadException">The rank may not join, rank 0 is not there, or the load failed.</exception>
    /// <exception cref="SLoRAException">A rank was lost; the message names it.</exception>
    public static Task RunAsync(WorkerOptions options, ILoggerFactory? loggers = null, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        var secret = options.Secret ?? Environment.GetEnvironmentVariable(TensorParallelOptions.SecretVariable);
        Check(options, secret);
        return Task.Run(() => Run(options, secret!, loggers ?? NullLoggerFactory.Instance), ct).WaitAsync(ct);
    }

    private static void Run(WorkerOptions options, string secret, ILoggerFactory loggers)
    {
        NativeLibraryLoader.Configure(new NativeLibrarySearch { LibraryPath = options.Native.LibraryPath, Directories = [.. options.Native.SearchDirectories] });
        NativeLibraryLoader.Load();
        NativeLogBridge.Connect(loggers);
        NativeWorker.Run(new NativeWorkerRunOptions
        {
            TensorParallelRank = options.TensorParallelRank,
            Join = options.Join,
            Secret = secret,
            ModelPath = options.ModelPath,
            DeviceIndex = options.Native.DeviceIndex,
            NumThreads = options.Native.NumThreads,
            JoinMilliseconds = 1000 * options.JoinLimitSeconds,
            TimeLimitMilliseconds = 1000 * options.TimeLimitSeconds,
        });
    }

    [System.Diagnostics.CodeAnalysis.UnconditionalSuppressMessage("Trimming", "IL2026", Justification = "The option classes are referenced here, and their members are simple properties with annotations.")]
    private static void Check(WorkerOptions options, string? secret)
    {
        var results = new List<ValidationResult>();
        Validator.TryValidateObject(options, new ValidationContext(options), results, validateAllProperties: true);
        Validator.TryValidateObject(options.Native, new ValidationContext(options.Native), results, validateAllProperties: true);
        var problems = results.Select(result => $"{result.MemberNames.FirstOrDefault()}: {result.ErrorMessage}").ToList();
        if (string.IsNullOrEmpty(secret))
        {
            problems.Add($"Secret is missing; rank 0 asks for one ({TensorParallelOptions.SecretVariable} may hold it)");
        }

        if (problems.Count > 0)
        {
            throw new ArgumentException(string.Join("; ", problems));
        }
    }
}
