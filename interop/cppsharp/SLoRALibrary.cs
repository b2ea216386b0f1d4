// CppSharp's view of the C ABI: which header, which include folder, which library. Names and passes are left to CppSharp,
// because these bindings are an alternative to compare with, not the ones that ship (those are interop/generated).

using System;
using System.IO;
using CppSharp;
using CppSharp.AST;
using CppSharp.Generators;

string interop = Path.GetFullPath(args.Length > 0 ? args[0] : "interop");
string output = Path.GetFullPath(args.Length > 1 ? args[1] : Path.Combine("out", "cppsharp"));
if (!File.Exists(Path.Combine(interop, "include", "slora", "slora.h")))
{
    Console.Error.WriteLine($"cppsharp: no include/slora/slora.h under '{interop}'");
    return 2;
}

Directory.CreateDirectory(output);
ConsoleDriver.Run(new SLoRALibrary(interop, output));
return 0;

internal sealed class SLoRALibrary(string interop, string output) : ILibrary
{
    public void Setup(Driver driver)
    {
        driver.Options.GeneratorKind = GeneratorKind.CSharp;
        driver.Options.OutputDir = output;

        Module module = driver.Options.AddModule("slora");
        module.OutputNamespace = "SLoRA.Interop.CppSharp";
        module.SharedLibraryName = "slora";
        module.IncludeDirs.Add(Path.Combine(interop, "include"));
        module.Headers.Add("slora/slora.h");
    }

    public void SetupPasses(Driver driver)
    {
    }

    public void Preprocess(Driver driver, ASTContext ctx)
    {
    }

    public void Postprocess(Driver driver, ASTContext ctx)
    {
    }
}
