// Which layers attend through a sliding window, from each dialect's own keys.
#include "window_config.hpp"

#include <algorithm>

#include "slora/core/status.hpp"

namespace slora::model {
namespace {

// The window's length in tokens, 0 for none. A missing key means the architecture's default.
int32_t read_length(const ConfigReader& reader, const ModelConfig& config) {
  const Architecture& row = *config.architecture;
  const bool is_optional = row.window == WindowRule::kUpperLayers;
  if (!reader.boolean("use_sliding_window", !is_optional)) return 0;
  const bool is_null = reader.json().contains("sliding_window") && !reader.find("sliding_window");
  if (is_null || (row.default_window == 0 && !reader.find("sliding_window"))) return 0;
  const int64_t tokens = reader.integer("sliding_window", 1, INT64_MAX, row.default_window);
  // A window that no context outgrows hides nothing.
  return tokens >= config.max_position ? 0 : static_cast<int32_t>(tokens);
}

bool is_windowed(const ConfigReader& reader, WindowRule rule, int32_t layer_idx) {
  switch (rule) {
    case WindowRule::kNone:
      return false;
    case WindowRule::kAllLayers:
      return true;
    case WindowRule::kEvenLayers:
      return layer_idx % 2 == 0;
    case WindowRule::kUpperLayers:
      return layer_idx >= reader.integer("max_window_layers", 0, INT32_MAX, 28);
  }
  return false;
}

// layer_types, where the architecture's own code reads it: it then decides alone.
void read_layer_types(const ConfigReader& reader, const ModelConfig& config, int32_t length,
                      std::vector<int32_t>& windows) {
  const Json* types = reader.find("layer_types");
  if (!types) return;
  const WindowRule rule = config.architecture->window;
  if (!types->is_array()) reader.fail_format("layer_types", "is not a list");
  const bool decides = rule == WindowRule::kEvenLayers || rule == WindowRule::kUpperLayers;
  if (decides && types->size() != windows.size()) {
    reader.fail_format("layer_types", core::str_cat("has ", types->size(), " entries for ",
                                                    windows.size(), " layers"));
  }
  size_t layer_idx = 0;
  for (const Json& type : *types) {
    const bool is_sliding = type == "sliding_attention";
    if (!is_sliding && type != "full_attention") {
      reader.fail_unsupported("layer_types",
                              "is not implemented (full_attention and sliding_attention are)");
    }
    if (decides) {
      windows[layer_idx] = is_sliding ? length : 0;
    } else if (is_sliding && rule == WindowRule::kNone) {
      reader.fail_unsupported("layer_types", "is not implemented (only full_attention is)");
    }
    ++layer_idx;
  }
}

// The architecture's own code ignores the key, so a checkpoint that needs it is another's.
void refuse_window(const ConfigReader& reader, const ModelConfig& config) {
  if (!reader.find("sliding_window") || !reader.boolean("use_sliding_window", true)) return;
  if (reader.integer("sliding_window", 0, INT64_MAX) < config.max_position) {
    reader.fail_unsupported("sliding_window", "is not implemented");
  }
}

}  // namespace

std::vector<int32_t> read_windows(const ConfigReader& reader, const ModelConfig& config) {
  std::vector<int32_t> windows(static_cast<size_t>(config.num_layers), 0);
  const WindowRule rule = config.architecture->window;
  if (rule == WindowRule::kNone) refuse_window(reader, config);
  const int32_t length = rule == WindowRule::kNone ? 0 : read_length(reader, config);
  for (int32_t layer_idx = 0; layer_idx < config.num_layers; ++layer_idx) {
    if (is_windowed(reader, rule, layer_idx)) windows[static_cast<size_t>(layer_idx)] = length;
  }
  read_layer_types(reader, config, length, windows);
  return windows;
}

}  // namespace slora::model
