// The command line: write the bindings, or prove that the committed ones and the headers are in order.

using SLoRA.BindingsGenerator.Clang;
using SLoRA.BindingsGenerator.Model;

namespace SLoRA.BindingsGenerator;

internal static class Program
{
    private const string Usage = """
        usage: SLoRA.BindingsGenerator [--check | --lint] [--interop DIR]
          (none)         write interop/generated and the goldens of interop/abi from interop/include/slora/slora.h
          --check        exit 1 with a summary if the committed files differ from what would be written
          --lint         exit 1 with a list if the headers break the ABI sheet
          --interop DIR  the interop folder; default: found above the current folder
        """;

    public static int Main(string[] args)
    {
        try
        {
            return Run(args, Console.Out);
        }
        catch (GeneratorException e)
        {
            Console.Error.WriteLine($"bindings: {e.Message}");
            return 2;
        }
    }

    /// <summary>Runs one mode and reports to <paramref name="output"/>; 0 if all is in order.</summary>
    internal static int Run(string[] args, TextWriter output)
    {
        string interop = args.SkipWhile(a => a != "--interop").Skip(1).FirstOrDefault() ?? FindInterop();
        string[] unknown = [.. args.Where(a => a.StartsWith('-') && a is not ("--check" or "--lint" or "--interop"))];
        if (unknown.Length > 0)
        {
            throw new GeneratorException($"unknown option {unknown[0]}\n{Usage}");
        }

        HeaderModel model = HeaderReader.Read(Path.Combine(interop, "include", "slora", "slora.h"));
        if (args.Contains("--lint"))
        {
            string good = $"{model.Functions.Count} exports and {model.Structs.Count} structs obey the sheet";
            return Report(HeaderLint.Run(model), good, output);
        }

        if (args.Contains("--check"))
        {
            return Report(BindingsOutput.Differences(interop, model), "generated files are current", output);
        }

        BindingsOutput.Write(interop, model, output);
        return 0;
    }

    private static int Report(IReadOnlyList<string> findings, string good, TextWriter output)
    {
        foreach (string finding in findings)
        {
            output.WriteLine(finding);
        }

        output.WriteLine(findings.Count == 0 ? good : $"{findings.Count} findings");
        return findings.Count == 0 ? 0 : 1;
    }

    private static string FindInterop()
    {
        for (string? d = Environment.CurrentDirectory; d is not null; d = Path.GetDirectoryName(d))
        {
            if (File.Exists(Path.Combine(d, "interop", "include", "slora", "slora.h")))
            {
                return Path.Combine(d, "interop");
            }
        }

        throw new GeneratorException("no interop/include/slora/slora.h above the current folder; use --interop DIR");
    }
}
