// Limits of what a group is asked for.
#pragma once

#include "slora/comm/group.hpp"

namespace slora::comm {

// kInvalidArgument with value and limit, or the options with piece_bytes rounded up to 64.
GroupOptions checked(GroupOptions options, int32_t size);

}  // namespace slora::comm
