// A model's shape and options out of config.json, validated. Reads no weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "slora/model/architecture.hpp"

namespace slora::model {

enum class RopeType : uint8_t { kDefault, kLinear, kLlama3, kDynamic, kYarn, kLongrope };

struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;                    // all but default
  double low_freq_factor = 1.0;           // llama3
  double high_freq_factor = 4.0;          // llama3
  int64_t original_max_position = 0;      // llama3, dynamic, yarn, longrope
  double attention_factor = 1.0;          // yarn, longrope: multiplies cos and sin
  double beta_fast = 32.0;                // yarn
  double beta_slow = 1.0;                 // yarn
  bool truncate = true;                   // yarn: whether the bounds of its ramp are whole pairs
  std::vector<double> short_factor = {};  // longrope, [rotary_size / 2]
  std::vector<double> long_factor = {};

  bool operator==(const RopeConfig&) const = default;
};

struct ModelConfig {
  const Architecture* architecture = nullptr;  // a row of the table, never null once parsed
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int32_t num_layers = 0;
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;  // divides num_heads
  int32_t head_size = 0;     // even; explicit, or hidden / heads
  int32_t rotary_size = 0;   // even, <= head_size
  int64_t max_position = 0;  // longest context in tokens, unless the caller asks for more
  int64_t max_context = 0;   // longest that may be asked for: max_position, times the factor of a
                             // dynamic rope
  double rms_norm_eps = 0;
  double initializer_range = 0.02;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  float attention_scale = 0;     // factor of q . k
  float attention_softcap = 0;   // 0: none
  float final_softcap = 0;       // of the logits; 0: none
  std::vector<int32_t> windows;  // [num_layers] tokens a layer attends to; 0: all
  RopeConfig rope;
  std::string stored_dtype;  // "bfloat16"; empty if not said. The tensors' own dtype decides
  std::vector<int64_t> bos_token_ids;  // may be empty
  std::vector<int64_t> eos_token_ids;  // may be empty
};

// Reads `folder`/config.json: the key forms of transformers 4 and 5. kFormat for a value that is
// missing, of the wrong type or out of its limits; kUnsupported, by key and value, for an option
// that changes the result and is not implemented. Keys that change nothing are ignored.
ModelConfig read_config(const std::string& folder);

// The same from text; `where` begins every message.
ModelConfig parse_config(const std::string& text, const std::string& where);

int64_t dim_of(Dim dim, const ModelConfig& config);
bool has_bias(BiasRule rule, const ModelConfig& config);

// [max_context, rotary_size]: cos of the pairs, then sin of the pairs, of position * inverse
// frequency. All in fp32, in transformers' order of operations (modeling_rope_utils.py:
// _compute_default_rope_parameters and its siblings for linear, dynamic, yarn, longrope, llama3).
// transformers chooses the frequencies of dynamic and longrope by the longest position of each
// call; here max_context chooses them once, so that the K of a token is the same in every batch.
std::vector<float> rope_table(const ModelConfig& config, int64_t max_context);

}  // namespace slora::model
