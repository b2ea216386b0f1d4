namespace SLoRA;

/// <summary>How tensor-parallel ranks share out the LoRA updates of adapters.</summary>
public enum LoraSharding
{
    /// <summary>As the base's matrices are cut: no exchange of its own.</summary>
    Aligned = 0,

    /// <summary>Both halves of each update are cut and the intermediate is exchanged: less memory and work a rank.</summary>
    Full = 1,
}
