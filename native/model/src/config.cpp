// config.json to ModelConfig. The maxima are far above any published model and keep products of two
// in int64.
#include "slora/model/config.hpp"

#include <cmath>

#include "config_refusals.hpp"
#include "rope_config.hpp"
#include "slora/core/status.hpp"
#include "slora/model/mapped_file.hpp"
#include "slora/model/quote.hpp"
#include "window_config.hpp"

namespace slora::model {
namespace {

using core::fail;
using core::Status;

constexpr int64_t kMaxVocab = 1 << 24;
constexpr int64_t kMaxWidth = 1 << 22;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeads = 65536;
constexpr int64_t kMaxHeadSize = 4096;
constexpr int64_t kMaxPosition = 1 << 28;

const Architecture* read_architecture(const ConfigReader& reader) {
  const Json* list = reader.find("architectures");
  if (!list || !list->is_array() || list->size() != 1 || !(*list)[0].is_string()) {
    reader.fail_format("architectures", "is not a list of one name");
  }
  const Architecture* row = find_architecture((*list)[0].get_ref<const std::string&>());
  if (row) return row;
  std::string known;
  for (const Architecture& other : architectures()) {
    known += (known.empty() ? "" : ", ") + std::string(other.name);
  }
  reader.fail_unsupported("architectures", "is not implemented; implemented: " + known);
}

void read_sizes(const ConfigReader& reader, ModelConfig& config) {
  config.vocab_size = reader.integer("vocab_size", 1, kMaxVocab);
  config.hidden_size = reader.integer("hidden_size", 1, kMaxWidth);
  config.intermediate_size = reader.integer("intermediate_size", 1, kMaxWidth);
  config.num_layers = static_cast<int32_t>(reader.integer("num_hidden_layers", 1, kMaxLayers));
  config.num_heads = static_cast<int32_t>(reader.integer("num_attention_heads", 1, kMaxHeads));
  const int32_t default_kv_heads = config.architecture->default_kv_heads;
  config.num_kv_heads = static_cast<int32_t>(
      reader.integer("num_key_value_heads", 1, kMaxHeads,
                     int64_t{default_kv_heads > 0 ? default_kv_heads : config.num_heads}));
  if (config.num_heads % config.num_kv_heads != 0) {
    reader.fail_format("num_key_value_heads",
                       core::str_cat("does not divide num_attention_heads ", config.num_heads));
  }
  config.max_position = reader.integer("max_position_embeddings", 1, kMaxPosition);
}

void read_head_size(const ConfigReader& reader, ModelConfig& config) {
  const int64_t assumed = config.architecture->default_head_size;
  if (!reader.find("head_dim") && assumed == 0 && config.hidden_size % config.num_heads != 0) {
    reader.fail_format("hidden_size", core::str_cat("is not a multiple of num_attention_heads ",
                                                    config.num_heads, ", and head_dim is missing"));
  }
  const int64_t derived = assumed > 0 ? assumed : config.hidden_size / config.num_heads;
  const int64_t head_size = reader.integer("head_dim", 1, kMaxHeadSize, derived);
  if (head_size % 2 != 0 || head_size < 2 || head_size > kMaxHeadSize) {
    reader.fail_format("head_dim",
                       core::str_cat("gives head size ", head_size,
                                     ", which is not an even number in [2, ", kMaxHeadSize, "]"));
  }
  config.head_size = static_cast<int32_t>(head_size);
}

void read_rotary_size(const ConfigReader& reader, ModelConfig& config) {
  config.rotary_size = config.head_size;
  if (!config.architecture->has_partial_rotary) return;
  const double factor = read_partial_rotary(reader);
  config.rotary_size = static_cast<int32_t>(config.head_size * factor);
  if (config.rotary_size < 2 || config.rotary_size % 2 != 0) {
    reader.fail_format("partial_rotary_factor",
                       core::str_cat("rotates ", config.rotary_size, " of ", config.head_size,
                                     " elements, which is not an even number from 2"));
  }
}

// A missing key means the architecture's own default, null means none.
double softcap(const ConfigReader& reader, std::string_view key, double fallback) {
  if (reader.json().contains(key) && !reader.find(key)) return 0;
  return reader.number(key, 0, 1e9, fallback);
}

// Defaults: transformers, configuration_gemma2.py.
void read_softcaps(const ConfigReader& reader, ModelConfig& config) {
  double scalar = config.head_size;
  if (config.architecture->has_softcaps) {
    scalar = reader.number("query_pre_attn_scalar", 1e-6, 1e9, 256);
    config.attention_softcap = static_cast<float>(softcap(reader, "attn_logit_softcapping", 50));
    config.final_softcap = static_cast<float>(softcap(reader, "final_logit_softcapping", 30));
  }
  config.attention_scale = static_cast<float>(1.0 / std::sqrt(scalar));
}

void check_activation(const ConfigReader& reader, const Architecture& row) {
  if (reader.string(row.activation_key, row.activation_value) == row.activation_value) return;
  reader.fail_unsupported(row.activation_key,
                          "is not implemented; implemented: " + std::string(row.activation_value));
}

std::string read_stored_dtype(const ConfigReader& reader) {
  return reader.string("dtype", reader.string("torch_dtype", ""));
}

}  // namespace

ModelConfig parse_config(const std::string& text, const std::string& where) {
  const Json json = parse_json_object(text, where);
  const ConfigReader reader(json, where);
  ModelConfig config;
  config.architecture = read_architecture(reader);
  read_sizes(reader, config);
  read_head_size(reader, config);
  refuse_unimplemented(reader, *config.architecture);
  check_activation(reader, *config.architecture);
  read_rotary_size(reader, config);
  read_softcaps(reader, config);
  config.windows = read_windows(reader, config);
  config.attention_bias = reader.boolean("attention_bias", false);
  config.mlp_bias = reader.boolean("mlp_bias", false);
  config.rms_norm_eps =
      reader.number("rms_norm_eps", 0, 1, config.architecture->default_rms_norm_eps);
  config.initializer_range = reader.number("initializer_range", 0, 100, 0.02);
  config.tie_word_embeddings =
      reader.boolean("tie_word_embeddings", config.architecture->default_tied);
  config.rope = read_rope(reader, where, config);
  config.max_context = config.max_position;
  if (config.rope.type == RopeType::kDynamic) {
    config.max_context =
        static_cast<int64_t>(static_cast<double>(config.max_position) * config.rope.factor);
  }
  config.stored_dtype = read_stored_dtype(reader);
  config.bos_token_ids = reader.token_ids("bos_token_id");
  config.eos_token_ids = reader.token_ids("eos_token_id");
  return config;
}

ModelConfig read_config(const std::string& folder) {
  const MappedFile file = MappedFile::open(join_path(folder, "config.json"), kMaxConfigBytes);
  return parse_config(std::string(file.text()), path_text(file.path()));
}

bool has_bias(BiasRule rule, const ModelConfig& config) {
  switch (rule) {
    case BiasRule::kNever:
      return false;
    case BiasRule::kAlways:
      return true;
    case BiasRule::kAttentionBias:
      return config.attention_bias;
    case BiasRule::kMlpBias:
      return config.mlp_bias;
  }
  fail(Status::kInternal, "unknown rule of biases ", static_cast<int>(rule));
}

int64_t dim_of(Dim dim, const ModelConfig& config) {
  const int64_t query = int64_t{config.num_heads} * config.head_size;
  const int64_t key_value = int64_t{config.num_kv_heads} * config.head_size;
  switch (dim) {
    case Dim::kHidden:
      return config.hidden_size;
    case Dim::kIntermediate:
      return config.intermediate_size;
    case Dim::kQuery:
      return query;
    case Dim::kKeyValue:
      return key_value;
    case Dim::kQkv:
      return query + 2 * key_value;
    case Dim::kGateUp:
      return 2 * config.intermediate_size;
    case Dim::kVocab:
      return config.vocab_size;
    case Dim::kHead:
      return config.head_size;
  }
  fail(Status::kInternal, "unknown dimension ", static_cast<int>(dim));
}

}  // namespace slora::model
