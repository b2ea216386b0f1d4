// Runs of <0xNN> tokens to text. The library decodes a run as a whole: valid UTF-8 as such, otherwise every byte of it
// as U+FFFD. So a run is held until it ends.

using System.Text;
using SLoRA.Tokenizers.Models;

namespace SLoRA.Tokenizers.Decoders;

internal sealed class ByteFallbackStage(DecoderStage next) : DecoderStage(next)
{
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private readonly List<byte> _run = [];

    internal override void Accept(string piece)
    {
        if (ByteFallbackToken.TryParse(piece, out byte value))
        {
            _run.Add(value);
            return;
        }

        EndRun();
        Emit(piece);
    }

    internal override void Finish()
    {
        EndRun();
        base.Finish();
    }

    private void EndRun()
    {
        if (_run.Count == 0)
        {
            return;
        }

        byte[] bytes = [.. _run];
        _run.Clear();
        if (System.Text.Unicode.Utf8.IsValid(bytes))
        {
            Emit(Strict.GetString(bytes));
            return;
        }

        // One piece each: stages that work on a piece must see them apart.
        foreach (byte _ in bytes)
        {
            Emit("\uFFFD");
        }
    }
}
