// What a file that the loader refused was built for. The loader itself does not say: of a library for another processor
// glibc reports "No such file or directory".

using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace SLoRA.Interop.Loading;

internal static class LibraryFormat
{
    // ELF: e_ident [16], e_type [2], e_machine [2].
    private const int HeaderBytes = 20;
    private const int DataOffset = 5;
    private const int MachineOffset = 18;
    private const byte LittleEndian = 1;

    /// <summary>"built for linux-arm64, but this process is linux-x64"; null if the file fits or cannot be told.</summary>
    public static string? Mismatch(string path)
    {
        string? target = Path.IsPathFullyQualified(path) ? TargetOf(path) : null; // A bare name is the system's to find.
        string own = ProbeEnvironment.PortableRuntimeIdentifier.Replace("-musl", "", StringComparison.Ordinal);
        return target is null || target == own ? null : $"built for {target}, but this process is {own}";
    }

    private static string? TargetOf(string path)
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        try
        {
            using FileStream file = File.OpenRead(path);
            if (file.ReadAtLeast(header, HeaderBytes, throwOnEndOfStream: false) < HeaderBytes)
            {
                return null;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null; // The loader's own words tell.
        }

        return BinaryPrimitives.ReadUInt32BigEndian(header) switch
        {
            0x7F454C46 => "linux-" + Processor(header),
            0xCFFAEDFE or 0xCAFEBABE => "macOS",
            uint magic when magic >> 16 == 0x4D5A => "Windows",
            _ => null,
        };
    }

    // Numbers of e_machine: the ELF specification's registry.
    private static string Processor(ReadOnlySpan<byte> header)
    {
        ReadOnlySpan<byte> field = header[MachineOffset..];
        ushort machine = header[DataOffset] == LittleEndian
            ? BinaryPrimitives.ReadUInt16LittleEndian(field)
            : BinaryPrimitives.ReadUInt16BigEndian(field);
        return machine switch
        {
            3 => "x86",
            22 => "s390x",
            40 => "arm",
            62 => "x64",
            183 => "arm64",
            21 => "ppc64le",
            243 => "riscv64",
            258 => "loongarch64",
            _ => $"processor number {machine}",
        };
    }
}
