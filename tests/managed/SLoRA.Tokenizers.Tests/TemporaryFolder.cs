// A folder for one test, gone afterwards.

namespace SLoRA.Tokenizers.Tests;

internal sealed class TemporaryFolder : IDisposable
{
    internal TemporaryFolder() => Path = Directory.CreateTempSubdirectory("slora-tokenizer-").FullName;

    internal string Path { get; }

    public void Dispose() => Directory.Delete(Path, recursive: true);

    internal string File(string name) => System.IO.Path.Combine(Path, name);

    internal TemporaryFolder With(string name, string content)
    {
        System.IO.File.WriteAllText(File(name), content);
        return this;
    }

    internal TemporaryFolder WithCopy(string file, Func<string, string>? change = null)
    {
        string content = System.IO.File.ReadAllText(file);
        return With(System.IO.Path.GetFileName(file), change is null ? content : change(content));
    }
}
