namespace SLoRA.Interop.Native;

/// <summary>Where a field of an ABI struct lies.</summary>
/// <param name="Struct">The C name of the struct.</param>
/// <param name="Field">The C name of the field; null in the row of the struct itself.</param>
/// <param name="OffsetBytes">The offset of the field; 0 in the row of the struct itself.</param>
/// <param name="SizeBytes">The size of the field or struct.</param>
public readonly record struct AbiLayoutRow(string Struct, string? Field, ulong OffsetBytes, ulong SizeBytes);
