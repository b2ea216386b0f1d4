// A token inside a piece; positions are UTF-16 units of the piece.

namespace SLoRA.Tokenizers.Models;

internal readonly record struct SymbolSpan(int Id, int Start, int End);
