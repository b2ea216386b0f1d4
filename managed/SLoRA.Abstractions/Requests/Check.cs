// The one way a request is refused: RequestInvalidException with the option's name and a message of value and limit.
using System.Runtime.CompilerServices;

namespace SLoRA;

internal static class Check
{
    public static void That(
        bool holds, string parameter, [InterpolatedStringHandlerArgument(nameof(holds))] ref Message message)
    {
        if (!holds)
        {
            throw new RequestInvalidException(message.ToString(), parameter);
        }
    }

    public static void That(bool holds, string parameter, string message)
    {
        if (!holds)
        {
            throw new RequestInvalidException(message, parameter);
        }
    }

    public static void TokenId(int tokenId, string parameter, int vocabularySize) =>
        That((uint)tokenId < (uint)vocabularySize, parameter, $"{parameter}: token id {tokenId} is outside the vocabulary [0, {vocabularySize})");

    // Formats only when the check fails: a valid request pays for no text.
    [InterpolatedStringHandler]
    public ref struct Message
    {
        private DefaultInterpolatedStringHandler _text;

        public Message(int literalLength, int formattedCount, bool holds, out bool shouldFormat)
        {
            shouldFormat = !holds;
            _text = holds ? default : new(literalLength, formattedCount, System.Globalization.CultureInfo.InvariantCulture);
        }

        public void AppendLiteral(string value) => _text.AppendLiteral(value);

        public void AppendFormatted<T>(T value) => _text.AppendFormatted(value);

        public override string ToString() => _text.ToStringAndClear();
    }
}
