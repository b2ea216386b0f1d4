// What config.json may ask and this library does not do.
#pragma once

#include "slora/model/architecture.hpp"
#include "slora/model/config_reader.hpp"

namespace slora::model {

// kUnsupported, by key and value, for every option that would change the result and is not
// implemented.
void refuse_unimplemented(const ConfigReader& reader, const Architecture& row);

}  // namespace slora::model
