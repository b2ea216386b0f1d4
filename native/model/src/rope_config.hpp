// The rope options of config.json, in the key forms of transformers 4 and 5.
#pragma once

#include <string>

#include "slora/model/config.hpp"
#include "slora/model/config_reader.hpp"

namespace slora::model {

RopeConfig read_rope(const ConfigReader& reader, const std::string& where);

}  // namespace slora::model
