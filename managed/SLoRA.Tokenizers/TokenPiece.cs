// One token of an encoded text and the place it came from.

namespace SLoRA.Tokenizers;

/// <summary>
/// A token and the part of the original text it stands for. Positions are UTF-16 units, so
/// <c>text[Start..End]</c> is that part. A token that holds only some bytes of a character gets the whole character;
/// tokens added by the post-processor get (0, 0).
/// </summary>
/// <param name="Id">Token id.</param>
/// <param name="Start">Position of the first UTF-16 unit.</param>
/// <param name="End">Position after the last UTF-16 unit.</param>
public readonly record struct TokenPiece(int Id, int Start, int End);
