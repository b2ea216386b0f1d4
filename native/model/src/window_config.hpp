// Which layers of a model attend only to a window of the last tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "slora/model/config.hpp"
#include "slora/model/config_reader.hpp"

namespace slora::model {

// [num_layers] tokens; 0: all. By transformers' rules: configuration_mistral.py,
// configuration_qwen2.py, configuration_gemma2.py. kUnsupported where config.json asks for a window
// that the architecture's row has no rule for.
std::vector<int32_t> read_windows(const ConfigReader& reader, const ModelConfig& config);

}  // namespace slora::model
