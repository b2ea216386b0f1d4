// The rope options of config.json, in the key forms of transformers 4 and 5.
#pragma once

#include <string>

#include "slora/model/config.hpp"
#include "slora/model/config_reader.hpp"

namespace slora::model {

// `config` has its max_position, head_size and rotary_size already.
RopeConfig read_rope(const ConfigReader& reader, const std::string& where,
                     const ModelConfig& config);

// The share of a head that is rotated: partial_rotary_factor, beside the rope options or in them.
double read_partial_rotary(const ConfigReader& reader);

}  // namespace slora::model
