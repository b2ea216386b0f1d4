// Options of config.json that would change the result and are not implemented. A key that is in
// neither this table nor config.cpp changes nothing in the architectures of the table, and is
// ignored.
#include "config_refusals.hpp"

#include "slora/core/status.hpp"

namespace slora::model {
namespace {

struct Refusal {
  const char* key;
  const char* why;
};

// Refused if true, non-zero or non-empty.
constexpr Refusal kRefusedIfSet[] = {
    {"attention_bias", "is not implemented (biases of the attention projections)"},
    {"mlp_bias", "is not implemented (biases of the MLP projections)"},
    {"use_bias", "is not implemented"},
    {"use_qkv_bias", "is not implemented"},
    {"quantization_config", "is not implemented (quantised checkpoints)"},
    {"compression_config", "is not implemented (quantised checkpoints)"},
    {"attn_logit_softcapping", "is not implemented"},
    {"final_logit_softcapping", "is not implemented"},
    {"query_pre_attn_scalar", "is not implemented"},
    {"attention_multiplier", "is not implemented"},
    {"embedding_multiplier", "is not implemented"},
    {"residual_multiplier", "is not implemented"},
    {"logits_scaling", "is not implemented"},
    {"logit_scale", "is not implemented"},
    {"use_qk_norm", "is not implemented"},
    {"qk_layernorm", "is not implemented"},
    {"num_local_experts", "is not implemented (mixture of experts)"},
    {"num_experts", "is not implemented (mixture of experts)"},
    {"n_routed_experts", "is not implemented (mixture of experts)"},
    {"no_rope_layers", "is not implemented"},
    {"use_bidirectional_attention", "is not implemented"},
    {"add_cross_attention", "is not implemented"},
    {"is_encoder_decoder", "is not implemented"},
    {"alibi", "is not implemented"},
};

// transformers would run the repository's own code in place of the architecture.
void refuse_custom_code(const ConfigReader& reader) {
  const Json* auto_map = reader.find("auto_map");
  if (auto_map && auto_map->is_object() && auto_map->contains("AutoModelForCausalLM")) {
    reader.fail_unsupported("auto_map", "is not implemented (the model's own code)");
  }
}

void refuse_windows(const ConfigReader& reader) {
  if (const Json* types = reader.find("layer_types")) {
    if (!types->is_array()) reader.fail_format("layer_types", "is not a list");
    for (const Json& type : *types) {
      if (type != "full_attention")
        reader.fail_unsupported("layer_types", "is not implemented (only full_attention is)");
    }
  }
  const Json* window = reader.find("sliding_window");
  if (!window || !reader.boolean("use_sliding_window", true)) return;
  // A window that no context outgrows hides nothing.
  const int64_t tokens = reader.integer("sliding_window", 0, INT64_MAX);
  if (tokens < reader.integer("max_position_embeddings", 0, INT64_MAX)) {
    reader.fail_unsupported("sliding_window", "is not implemented");
  }
}

}  // namespace

void refuse_unimplemented(const ConfigReader& reader) {
  for (const Refusal& refusal : kRefusedIfSet) {
    const Json* value = reader.find(refusal.key);
    if (value && is_truthy(*value)) reader.fail_unsupported(refusal.key, refusal.why);
  }
  if (reader.number("pretraining_tp", 0, 1e9, 1) > 1) {
    reader.fail_unsupported("pretraining_tp", "is not implemented (it reorders sums)");
  }
  if (reader.number("partial_rotary_factor", 0, 1e9, 1) != 1) {
    reader.fail_unsupported("partial_rotary_factor", "is not implemented");
  }
  if (!reader.boolean("is_causal", true))
    reader.fail_unsupported("is_causal", "is not implemented");
  refuse_custom_code(reader);
  refuse_windows(reader);
}

}  // namespace slora::model
