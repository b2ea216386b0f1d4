// The sum of several ranks' numbers, in the order of ranks.
#pragma once

#include <cstdint>
#include <span>

#include "slora/core/dtype.hpp"

namespace slora::comm {

// out[i] = inputs[0][i] + inputs[1][i] + ..., i < count, added in that order in fp32 and rounded
// once to `dtype`. `out` may be one of the inputs.
void sum_in_order(std::span<const void* const> inputs, void* out, int64_t count, core::DType dtype);

}  // namespace slora::comm
