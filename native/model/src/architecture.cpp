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

constexpr LinearRow kMistralLinears[] = {
    {"self_attn.q_proj", Dim::kHidden, Dim::kQuery, MatrixKind::kQkv},
    {"self_attn.k_proj", Dim::kHidden, Dim::kKeyValue, MatrixKind::kQkv},
    {"self_attn.v_proj", Dim::kHidden, Dim::kKeyValue, MatrixKind::kQkv},
    {"self_attn.o_proj", Dim::kQuery, Dim::kHidden, MatrixKind::kO},
    {"mlp.gate_proj", Dim::kHidden, Dim::kIntermediate, MatrixKind::kGateUp},
    {"mlp.up_proj", Dim::kHidden, Dim::kIntermediate, MatrixKind::kGateUp},
    {"mlp.down_proj", Dim::kIntermediate, Dim::kHidden, MatrixKind::kDown},
};

constexpr LinearRow kQwen2Linears[] = {
    {"self_attn.q_proj", Dim::kHidden, Dim::kQuery, MatrixKind::kQkv, BiasRule::kAlways},
    {"self_attn.k_proj", Dim::kHidden, Dim::kKeyValue, MatrixKind::kQkv, BiasRule::kAlways},
    {"self_attn.v_proj", Dim::kHidden, Dim::kKeyValue, MatrixKind::kQkv, BiasRule::kAlways},
    {"self_attn.o_proj", Dim::kQuery, Dim::kHidden, MatrixKind::kO},
    {"mlp.gate_proj", Dim::kHidden, Dim::kIntermediate, MatrixKind::kGateUp},
    {"mlp.up_proj", Dim::kHidden, Dim::kIntermediate, MatrixKind::kGateUp},
    {"mlp.down_proj", Dim::kIntermediate, Dim::kHidden, MatrixKind::kDown},
};

// Biases of attention by option, none in the MLP: Qwen 3, Gemma 2.
constexpr LinearRow kAttentionBiasLinears[] = {
    {"self_attn.q_proj", Dim::kHidden, Dim::kQuery, MatrixKind::kQkv, BiasRule::kAttentionBias},
    {"self_attn.k_proj", Dim::kHidden, Dim::kKeyValue, MatrixKind::kQkv, BiasRule::kAttentionBias},
    {"self_attn.v_proj", Dim::kHidden, Dim::kKeyValue, MatrixKind::kQkv, BiasRule::kAttentionBias},
    {"self_attn.o_proj", Dim::kQuery, Dim::kHidden, MatrixKind::kO, BiasRule::kAttentionBias},
    {"mlp.gate_proj", Dim::kHidden, Dim::kIntermediate, MatrixKind::kGateUp},
    {"mlp.up_proj", Dim::kHidden, Dim::kIntermediate, MatrixKind::kGateUp},
    {"mlp.down_proj", Dim::kIntermediate, Dim::kHidden, MatrixKind::kDown},
};

// Checkpoints and adapters have q, k, v as one module, and gate, up as one.
constexpr LinearRow kPhi3Linears[] = {
    {"self_attn.qkv_proj", Dim::kHidden, Dim::kQkv, MatrixKind::kQkv},
    {"self_attn.o_proj", Dim::kQuery, Dim::kHidden, MatrixKind::kO},
    {"mlp.gate_up_proj", Dim::kHidden, Dim::kGateUp, MatrixKind::kGateUp},
    {"mlp.down_proj", Dim::kIntermediate, Dim::kHidden, MatrixKind::kDown},
};

constexpr NormRow kLlamaNorms[] = {
    {"input_layernorm", VectorKind::kAttentionInputNorm, Dim::kHidden},
    {"post_attention_layernorm", VectorKind::kMlpInputNorm, Dim::kHidden},
};

constexpr NormRow kQwen3Norms[] = {
    {"input_layernorm", VectorKind::kAttentionInputNorm, Dim::kHidden},
    {"self_attn.q_norm", VectorKind::kQueryNorm, Dim::kHead},
    {"self_attn.k_norm", VectorKind::kKeyNorm, Dim::kHead},
    {"post_attention_layernorm", VectorKind::kMlpInputNorm, Dim::kHidden},
};

// The name post_attention_layernorm means another place here than in Llama.
constexpr NormRow kGemma2Norms[] = {
    {"input_layernorm", VectorKind::kAttentionInputNorm, Dim::kHidden},
    {"post_attention_layernorm", VectorKind::kAttentionOutputNorm, Dim::kHidden},
    {"pre_feedforward_layernorm", VectorKind::kMlpInputNorm, Dim::kHidden},
    {"post_feedforward_layernorm", VectorKind::kMlpOutputNorm, Dim::kHidden},
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
    {
        .name = "MistralForCausalLM",
        .linears = kMistralLinears,
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
        .window = WindowRule::kAllLayers,
        .has_softcaps = false,
        .default_kv_heads = 8,
        .default_window = 4096,
    },
    {
        .name = "Qwen2ForCausalLM",
        .linears = kQwen2Linears,
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
        .window = WindowRule::kUpperLayers,
        .has_softcaps = false,
        .default_kv_heads = 32,
        .default_window = 4096,
    },
    {
        .name = "Qwen3ForCausalLM",
        .linears = kAttentionBiasLinears,
        .norms = kQwen3Norms,
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
        .window = WindowRule::kUpperLayers,
        .has_softcaps = false,
        .default_head_size = 128,
        .default_kv_heads = 32,
        .default_window = 4096,
    },
    {
        .name = "Gemma2ForCausalLM",
        .linears = kAttentionBiasLinears,
        .norms = kGemma2Norms,
        .layer_prefix = "model.layers.",
        .embedding = "model.embed_tokens.weight",
        .final_norm = "model.norm.weight",
        .head = "lm_head.weight",
        .activation = Activation::kGeluTanh,
        .activation_key = "hidden_activation",
        .activation_value = "gelu_pytorch_tanh",
        .default_rms_norm_eps = 1e-6,
        .default_tied = true,
        .norm_weight_offset = 1,
        .embed_scale = EmbedScale::kSqrtHidden,
        .window = WindowRule::kEvenLayers,
        .has_softcaps = true,
        .default_head_size = 256,
        .default_kv_heads = 4,
        .default_window = 4096,
    },
    {
        .name = "Phi3ForCausalLM",
        .linears = kPhi3Linears,
        .norms = kLlamaNorms,
        .layer_prefix = "model.layers.",
        .embedding = "model.embed_tokens.weight",
        .final_norm = "model.norm.weight",
        .head = "lm_head.weight",
        .activation = Activation::kSilu,
        .activation_key = "hidden_act",
        .activation_value = "silu",
        .default_rms_norm_eps = 1e-5,
        .default_tied = false,
        .norm_weight_offset = 0,
        .embed_scale = EmbedScale::kOne,
        .window = WindowRule::kAllLayers,
        .has_softcaps = false,
        .has_partial_rotary = true,
    },
};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

bool has_bias_rule(const Architecture& row, BiasRule rule) {
  for (const LinearRow& linear : row.linears) {
    if (linear.bias == rule) return true;
  }
  return false;
}

const Architecture* find_architecture(std::string_view name) {
  for (const Architecture& row : kArchitectures) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace slora::model
