namespace SLoRA.Interop;

/// <summary>How far a load is.</summary>
/// <param name="DoneBytes">Bytes read and packed.</param>
/// <param name="TotalBytes">Bytes in all; 0 until known.</param>
public readonly record struct NativeLoadProgress(ulong DoneBytes, ulong TotalBytes);
