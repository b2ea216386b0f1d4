// The rope options of config.json, in the key forms of transformers 4 and 5.
#pragma once

#include <string>

#include "config_reader.hpp"
#include "slora/model/config.hpp"

namespace slora::model {

RopeConfig read_rope(const ConfigReader& reader, const std::string& where);

}  // namespace slora::model
