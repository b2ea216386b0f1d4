// The rows. A new family is a row here, its golden test, and nothing else unless it brings a new
// kind of thing.
#include "slora/model/architecture.hpp"

namespace slora::model {
namespace {

constexpr LinearRow kLlamaLinears[] = {
    {"self_attn.q_proj", Dim::kHidden, Dim::kQuery, MatrixKind::kQkv, BiasRule::kAttentionBias},
    {"self_attn.k_proj", Dim::kHidden, Dim::kKeyValue, MatrixKind::kQkv, BiasRule::kAttentionBias},
    {"self_attn.v_proj", Dim::kHidden, Dim::kKeyValue, MatrixKind::kQkv, BiasRule::kAttentionBias},
    {"self_attn.o_proj", Dim::kQuery, Dim::kHidden, MatrixKind::kO, BiasRule::kAttentionBias},
    {"mlp.gate_proj", Dim::kHidden, Dim::kIntermediate, MatrixKind::kGateUp, BiasRule::kMlpBias},
    {"mlp.up_proj", Dim::kHidden, Dim::kIntermediate, MatrixKind::kGateUp, BiasRule::kMlpBias},
    {"mlp.down_proj", Dim::kIntermediate, Dim::kHidden, MatrixKind::kDown, BiasRule::kMlpBias},
};

constexpr NormRow kLlamaNorms[] = {
    {"input_layernorm", VectorKind::kAttentionInputNorm, Dim::kHidden},
    {"post_attention_layernorm", VectorKind::kMlpInputNorm, Dim::kHidden},
};

constexpr Architecture kArchitectures[] = {
    {
        .name = "LlamaForCausalLM",
        .linears = kLlamaLinears,
        .norms = kLlamaNorms,
        .layer_prefix = "model.layers.",
        .embedding = "model.embed_tokens.weight",
        .final_norm = "model.norm.weight",
        .head = "lm_head.weight",
        .activation = Activation::kSilu,
        .activation_key = "hidden_act",
        .activation_value = "silu",
        .default_rms_norm_eps = 1e-6,
        .default_tied = false,
        .norm_weight_offset = 0,
        .embed_scale = EmbedScale::kOne,
        .window = WindowRule::kNone,
        .has_softcaps = false,
    },
};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

const Architecture* find_architecture(std::string_view name) {
  for (const Architecture& row : kArchitectures) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace slora::model
