namespace SLoRA.Interop;

/// <summary>The native library that this process uses.</summary>
/// <param name="Path">The file, as it was given to the loader; a bare name if the system's search found it.</param>
/// <param name="AbiVersion">The contract it implements.</param>
/// <param name="BuildInfo">One line about its build.</param>
public sealed record NativeLibraryInfo(string Path, Version AbiVersion, string BuildInfo);
