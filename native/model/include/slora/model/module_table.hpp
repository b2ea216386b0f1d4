// The linear modules of a layer: what adapters may change, and where each lies in the packed
// matrices.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "slora/model/config.hpp"

namespace slora::model {

struct LinearModule {
  std::string name;  // "self_attn.q_proj"
  int64_t in_dim;
  int64_t out_dim;
  MatrixKind group;
  int64_t column_offset;  // of its output in the group's output; also its first row in the group's
                          // matrix
};

// The same for every layer; a module's position is its module_idx everywhere (q, k, v, o, gate, up,
// down).
struct ModuleTable {
  std::vector<LinearModule> modules;
  int32_t num_layers = 0;
  std::string layer_prefix;  // "model.layers."

  int32_t num_modules() const { return static_cast<int32_t>(modules.size()); }
  // "model.layers.3.self_attn.q_proj": the name PEFT's rules are matched against.
  std::string full_name(int32_t layer_idx, int32_t module_idx) const;
};

ModuleTable module_table(const ModelConfig& config);

}  // namespace slora::model
