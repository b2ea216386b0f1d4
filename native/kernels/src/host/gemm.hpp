// The workspace of the base matmuls.
#pragma once

#include <cstdint>

namespace slora::kernels {

// Elements between rows of x once rounded to bf16. Not a multiple of a page: rows of a tile would
// share one set of the first-level cache otherwise. At least k + 1, so that an odd k has its zero.
inline int64_t rounded_x_stride(int64_t k) { return (k + 31) / 32 * 32 + 32; }

}  // namespace slora::kernels
