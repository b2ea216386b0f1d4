namespace SLoRA;

/// <summary>A native library was found and loaded, but implements a contract that these bindings cannot use.</summary>
public sealed class AbiMismatchException : SLoRAException
{
    /// <summary>Creates the error.</summary>
    /// <param name="libraryPath">The library that was loaded.</param>
    /// <param name="expected">The version that the bindings were generated from: major in the high 16 bits.</param>
    /// <param name="actual">The version that the library reports.</param>
    public AbiMismatchException(string libraryPath, uint expected, uint actual)
        : base($"'{libraryPath}' implements ABI {Format(actual)}, these bindings need {Format(expected)} (the same major, " +
               "the same or a higher minor). Use the native library that was released with this package.")
    {
        LibraryPath = libraryPath;
        ExpectedVersion = expected;
        ActualVersion = actual;
    }

    /// <summary>The library that was loaded.</summary>
    public string LibraryPath { get; }

    /// <summary>The version the bindings need: major in the high 16 bits, minor in the low ones.</summary>
    public uint ExpectedVersion { get; }

    /// <summary>The version the library reports.</summary>
    public uint ActualVersion { get; }

    private static string Format(uint version) => $"{version >> 16}.{version & 0xFFFF}";
}
