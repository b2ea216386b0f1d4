// The table of the modules that adapters may change, from a model's configuration.
#include "slora/model/module_table.hpp"

#include "slora/core/status.hpp"

namespace slora::model {

std::string ModuleTable::full_name(int32_t layer_idx, int32_t module_idx) const {
  return core::str_cat(layer_prefix, layer_idx, ".", modules[static_cast<size_t>(module_idx)].name);
}

ModuleTable module_table(const ModelConfig& config) {
  ModuleTable table;
  table.num_layers = config.num_layers;
  table.layer_prefix = config.architecture->layer_prefix;
  for (const LinearRow& row : config.architecture->linears) {
    int64_t column_offset = 0;
    for (const LinearModule& before : table.modules) {
      if (before.group == row.group) column_offset += before.out_dim;
    }
    table.modules.push_back({std::string(row.name), dim_of(row.in_dim, config),
                             dim_of(row.out_dim, config), row.group, column_offset});
  }
  return table;
}

}  // namespace slora::model
