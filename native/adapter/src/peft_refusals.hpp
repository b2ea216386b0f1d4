// What adapter_config.json may ask and this library does not do.
#pragma once

#include "slora/model/config_reader.hpp"

namespace slora::adapter {

// kUnsupported, by key and value, for every option that would change the result and is not
// implemented, and for every key that is set and not known to be harmless: a newer PEFT may have
// given it a meaning.
void refuse_unimplemented(const model::ConfigReader& reader);

}  // namespace slora::adapter
