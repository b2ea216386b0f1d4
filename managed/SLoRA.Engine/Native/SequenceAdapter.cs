// An adapter revision of a sequence, its factor, and the pages it needs when resident.
namespace SLoRA.Engine.Native;

internal readonly record struct SequenceAdapter(AdapterId Id, float Weight, int Pages);
