// Options of the base model.
using System.ComponentModel.DataAnnotations;

namespace SLoRA;

/// <summary>Options of the base model.</summary>
public sealed class ModelOptions
{
    /// <summary>A Hugging Face folder: config.json, safetensors, tokenizer.json or tokenizer.model.</summary>
    [Required(ErrorMessage = "a folder with the model is needed")]
    public string Path { get; set; } = string.Empty;

    /// <summary>The name under which the base model is served; null: the folder's name.</summary>
    public string? Name { get; set; }

    /// <summary>Numeric format of weights, KV and adapter pages.</summary>
    public ComputeDtype Dtype { get; set; } = ComputeDtype.Bf16;

    /// <summary>true: only config.json is read and the weights are random, to measure speed with; a tokenizer is used if the
    /// folder has one, and without it prompts must be token ids.</summary>
    public bool Synthetic { get; set; }

    /// <summary>Seed of random weights.</summary>
    public ulong SyntheticSeed { get; set; }

    internal string ServedName => string.IsNullOrEmpty(Name) ? System.IO.Path.GetFileName(System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(Path))) : Name;
}
