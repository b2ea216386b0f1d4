// A parsed chat template and how a conversation is rendered with it. Owns the variables that transformers gives to
// templates; the language itself is in the other files of this folder.

using System.Text.Json;
using SLoRA.Tokenizers.Loading;

namespace SLoRA.Tokenizers.Templates;

/// <summary>
/// A chat template in the part of Jinja that chat templates use. Immutable and safe for concurrent use. Templates are
/// untrusted: every rendering is bounded by <see cref="TemplateLimits"/>.
/// </summary>
public sealed class ChatTemplate
{
    private const string TemplateFile = "chat_template.jinja";
    private const string ConfigFile = "tokenizer_config.json";
    private const string DefaultName = "default";

    private readonly IReadOnlyList<Statement> _body;
    private readonly TemplateLimits _limits;
    private readonly IReadOnlyDictionary<string, string> _specialTokens;

    private ChatTemplate(
        string source,
        IReadOnlyList<Statement> body,
        TemplateLimits limits,
        IReadOnlyDictionary<string, string> specialTokens)
    {
        Source = source;
        _body = body;
        _limits = limits;
        _specialTokens = specialTokens;
    }

    /// <summary>The template's text.</summary>
    public string Source { get; }

    /// <summary>Parses a template.</summary>
    /// <param name="source">The template's text.</param>
    /// <param name="limits">Bounds on parsing and on every rendering; null: <see cref="TemplateLimits.Default"/>.</param>
    /// <returns>The template.</returns>
    /// <exception cref="TemplateException">The text is malformed, uses an unknown construct or exceeds a bound.</exception>
    public static ChatTemplate Parse(string source, TemplateLimits? limits = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        limits ??= TemplateLimits.Default;
        return new ChatTemplate(source, Parser.Parse(source, limits), limits, new Dictionary<string, string>());
    }

    /// <summary>
    /// Reads the template of a model or adapter folder: <c>chat_template.jinja</c>, else <c>chat_template</c> in
    /// <c>tokenizer_config.json</c> (a string, or a list of named templates of which <c>default</c> is taken). The
    /// folder's special tokens (<c>bos_token</c> …) become variables.
    /// </summary>
    /// <param name="folder">The folder.</param>
    /// <param name="limits">Bounds; null: <see cref="TemplateLimits.Default"/>.</param>
    /// <returns>The template, or null where the folder has none.</returns>
    /// <exception cref="TokenizerException">A file is malformed.</exception>
    /// <exception cref="TemplateException">The template is malformed.</exception>
    public static ChatTemplate? LoadFromFolder(string folder, TemplateLimits? limits = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        limits ??= TemplateLimits.Default;
        string? source = ReadTemplateFile(Path.Combine(folder, TemplateFile), limits) ?? ReadConfig(folder);
        return source is null
            ? null
            : new ChatTemplate(source, Parser.Parse(source, limits), limits, SpecialTokenFiles.ReadTexts(folder));
    }

    /// <summary>Renders a conversation.</summary>
    /// <param name="messages">The messages, in order.</param>
    /// <param name="options">Settings; null: the defaults.</param>
    /// <returns>The prompt. It holds its special tokens as text: encode it without adding special tokens.</returns>
    /// <exception cref="TemplateException">The template refused the conversation (<see
    /// cref="TemplateException.RaisedByTemplate"/>), failed or exceeded a bound.</exception>
    public string Render(IReadOnlyList<TemplateMessage> messages, ChatTemplateOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(messages);
        options ??= new ChatTemplateOptions();
        Scope variables = new(null);
        foreach ((string name, string text) in _specialTokens)
        {
            variables.Set(name, text);
        }

        variables.Set("messages", messages.Select(message => (object?)HostValues.Message(message)).ToList());
        variables.Set("add_generation_prompt", options.AddGenerationPrompt);
        variables.Set("tools", null);
        variables.Set("documents", null);
        SetToken(variables, "bos_token", options.BosToken);
        SetToken(variables, "eos_token", options.EosToken);
        foreach ((string name, object? value) in options.Variables)
        {
            variables.Set(name, HostValues.Convert(value));
        }

        return new Renderer(_limits, options.TimeProvider).Render(_body, variables);
    }

    // The template with tokens of another folder for those its own folder does not name.
    internal ChatTemplate WithFallbackTokens(IReadOnlyDictionary<string, string> fallback)
    {
        Dictionary<string, string> tokens = new(fallback);
        foreach ((string name, string text) in _specialTokens)
        {
            tokens[name] = text;
        }

        return new ChatTemplate(Source, _body, _limits, tokens);
    }

    private static void SetToken(Scope variables, string name, string? text)
    {
        if (text is not null)
        {
            variables.Set(name, text);
        }
    }

    private static string? ReadTemplateFile(string file, TemplateLimits limits)
    {
        try
        {
            FileInfo info = new(file);
            // UTF-8 needs at most three bytes a UTF-16 unit.
            if (info.Exists && info.Length > limits.MaxSourceChars * 3L)
            {
                throw new TokenizerException("is too large for a chat template", file, null, $"{info.Length} bytes");
            }

            return info.Exists ? File.ReadAllText(file) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TokenizerException($"cannot be read: {e.Message}", file, null, null, e);
        }
    }

    private static string? ReadConfig(string folder)
    {
        string file = Path.Combine(folder, ConfigFile);
        using JsonDocument? document = JsonFile.TryOpen(file);
        if (document is null)
        {
            return null;
        }

        JsonPart template = new JsonPart(document.RootElement, file, "")["chat_template"];
        if (template.IsNull || template.IsString)
        {
            return template.IsNull ? null : template.AsString();
        }

        foreach (JsonPart named in template.Items())
        {
            if (named.Require("name").AsString() == DefaultName)
            {
                return named.Require("template").AsString();
            }
        }

        return null;
    }
}
