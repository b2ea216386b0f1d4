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
    {"use_bias", "is not implemented"},
    {"use_qkv_bias", "is not implemented"},
    {"quantization_config", "is not implemented (quantised checkpoints)"},
    {"compression_config", "is not implemented (quantised checkpoints)"},
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

void refuse_if_set(const ConfigReader& reader, const Refusal& refusal) {
  const Json* value = reader.find(refusal.key);
  if (value && is_truthy(*value)) reader.fail_unsupported(refusal.key, refusal.why);
}

// Options that some rows have a place for.
void refuse_by_row(const ConfigReader& reader, const Architecture& row) {
  if (!has_bias_rule(row, BiasRule::kAttentionBias)) {
    refuse_if_set(reader, {"attention_bias", "is not implemented for this architecture"});
  }
  if (!has_bias_rule(row, BiasRule::kMlpBias)) {
    refuse_if_set(reader, {"mlp_bias", "is not implemented for this architecture"});
  }
  if (!row.has_softcaps) {
    for (const char* key :
         {"attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar"}) {
      refuse_if_set(reader, {key, "is not implemented for this architecture"});
    }
  }
  if (!row.has_partial_rotary && reader.number("partial_rotary_factor", 0, 1e9, 1) != 1) {
    reader.fail_unsupported("partial_rotary_factor", "is not implemented for this architecture");
  }
}

}  // namespace

void refuse_unimplemented(const ConfigReader& reader, const Architecture& row) {
  for (const Refusal& refusal : kRefusedIfSet) refuse_if_set(reader, refusal);
  refuse_by_row(reader, row);
  if (reader.number("pretraining_tp", 0, 1e9, 1) > 1) {
    reader.fail_unsupported("pretraining_tp", "is not implemented (it reorders sums)");
  }
  if (!reader.boolean("is_causal", true))
    reader.fail_unsupported("is_causal", "is not implemented");
  refuse_custom_code(reader);
}

}  // namespace slora::model
