// The table of architectures: what differs between model families, as data. Adding a family is
// adding a row.
//
// Everything that walks a model (config checks, weight loading, adapter matching, the layer loop)
// reads a row and never an architecture's name.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace slora::model {

// A length that depends on the configuration; dim_of (config.hpp) gives its value.
enum class Dim : uint8_t {
  kHidden,
  kIntermediate,
  kQuery,     // heads * head size
  kKeyValue,  // kv heads * head size
  kQkv,       // query + 2 key-value: checkpoints that store the three as one
  kGateUp,    // 2 intermediate, likewise
  kVocab,
  kHead,
};

// The packed matrices of a model. The linear modules of one group are rows of one matrix, in the
// row's order.
enum class MatrixKind : uint8_t { kEmbedding, kHead, kQkv, kO, kGateUp, kDown };

// The vectors of a model, by the place where they act and not by their name in any checkpoint.
enum class VectorKind : uint8_t {
  kAttentionInputNorm,
  kAttentionOutputNorm,  // before the residual sum (Gemma 2)
  kMlpInputNorm,
  kMlpOutputNorm,  // before the residual sum (Gemma 2)
  kQueryNorm,      // a head (Qwen 3)
  kKeyNorm,
  kFinalNorm,
  kQkvBias,
  kOBias,
  kGateUpBias,
  kDownBias,
};

enum class Activation : uint8_t { kSilu, kGeluTanh };

// Whether a linear module has a bias, and which option of config.json says so.
enum class BiasRule : uint8_t { kNever, kAlways, kAttentionBias, kMlpBias };

// Which layers attend only to a window, where config.json has no layer_types. kUpperLayers: those
// from max_window_layers on, if use_sliding_window (Qwen).
enum class WindowRule : uint8_t { kNone, kAllLayers, kEvenLayers, kUpperLayers };

enum class EmbedScale : uint8_t { kOne, kSqrtHidden };

struct LinearRow {
  std::string_view name;  // below a layer, as checkpoint and PEFT have it: "self_attn.q_proj"
  Dim in_dim;
  Dim out_dim;
  MatrixKind group;
  BiasRule bias = BiasRule::kNever;
};

struct NormRow {
  std::string_view name;  // below a layer: "input_layernorm"
  VectorKind kind;
  Dim size;
};

struct Architecture {
  std::string_view name;               // entry of config.json's "architectures"
  std::span<const LinearRow> linears;  // the order of module tables: q, k, v, o, gate, up, down
  std::span<const NormRow> norms;
  std::string_view layer_prefix;  // "model.layers."
  std::string_view embedding;     // tensor names
  std::string_view final_norm;
  std::string_view head;
  Activation activation;
  std::string_view activation_key;  // key and value of config.json that mean it
  std::string_view activation_value;
  double default_rms_norm_eps;  // what transformers assumes where config.json is silent
  bool default_tied;
  float norm_weight_offset;  // 1: the stored norm weight is the difference from one
  EmbedScale embed_scale;
  WindowRule window;
  bool has_softcaps;  // attn_logit_softcapping, final_logit_softcapping, query_pre_attn_scalar
  // What transformers assumes where config.json is silent; 0: derived from the other sizes.
  int32_t default_head_size = 0;
  int32_t default_kv_heads = 0;
  int64_t default_window = 0;       // 0: none
  bool has_partial_rotary = false;  // partial_rotary_factor, original_max_position_embeddings
};

// Whether some linear module of the row has its bias by this rule.
bool has_bias_rule(const Architecture& row, BiasRule rule);

// Null if the table has no such row.
const Architecture* find_architecture(std::string_view name);
std::span<const Architecture> architectures();

}  // namespace slora::model
