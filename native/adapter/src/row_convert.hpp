// Rows out of files into the dtype of pages.
#pragma once

#include <cstdint>

#include "slora/model/safetensors.hpp"

namespace slora::adapter {

// out[i] = tensor[begin + i * stride], i < count, in `dtype`, rounded to nearest even. kUnsupported
// naming the tensor if a finite value becomes infinite.
void convert_row(const model::TensorRef& tensor, int64_t begin, int64_t stride, int64_t count,
                 core::DType dtype, uint8_t* out);

}  // namespace slora::adapter
