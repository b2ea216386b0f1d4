// Types as the header spells them: typedef names are kept (uint64_t, never "unsigned long"), because canonical types
// differ between platforms and the ABI does not.

namespace SLoRA.BindingsGenerator.Model;

/// <summary>A C type.</summary>
internal abstract record TypeRef
{
    /// <summary>The type and every type inside it.</summary>
    public virtual IEnumerable<TypeRef> SelfAndInner() => [this];
}

/// <summary>A builtin, a typedef or a tag, by name without "const" and "struct".</summary>
internal sealed record NamedTypeRef(string Name) : TypeRef;

internal sealed record PointerTypeRef(TypeRef Pointee, bool IsConst) : TypeRef
{
    public override IEnumerable<TypeRef> SelfAndInner() => Pointee.SelfAndInner().Prepend(this);
}

internal sealed record ArrayTypeRef(TypeRef Element, long Count) : TypeRef
{
    public override IEnumerable<TypeRef> SelfAndInner() => Element.SelfAndInner().Prepend(this);
}

internal sealed record FunctionTypeRef(TypeRef Result, IReadOnlyList<TypeRef> Parameters) : TypeRef
{
    public override IEnumerable<TypeRef> SelfAndInner() =>
        Parameters.Prepend(Result).SelectMany(t => t.SelfAndInner()).Prepend(this);
}
