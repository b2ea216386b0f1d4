// Conversion of rows; a finite value that the target cannot hold is refused by its tensor.
#include "row_convert.hpp"

#include <cmath>
#include <cstring>

#include "slora/core/status.hpp"
#include "slora/model/quote.hpp"

namespace slora::adapter {
namespace {

using core::DType;
using model::TensorRef;

template <typename Stored, typename Load>
void convert(const TensorRef& tensor, int64_t begin, int64_t stride, int64_t count, DType dtype,
             uint8_t* out, const Load& load) {
  const Stored* values = reinterpret_cast<const Stored*>(tensor.data) + begin;
  uint32_t overflows = 0;
  switch (dtype) {
    case DType::kF32: {
      auto* to = reinterpret_cast<float*>(out);
      for (int64_t i = 0; i < count; ++i) to[i] = load(values[i * stride]);
      break;
    }
    case DType::kBF16: {
      auto* to = reinterpret_cast<uint16_t*>(out);
      for (int64_t i = 0; i < count; ++i) {
        to[i] = core::float_to_bf16(load(values[i * stride]));
        overflows |= static_cast<uint32_t>((to[i] & 0x7f80u) == 0x7f80u);
      }
      break;
    }
    case DType::kF16: {
      auto* to = reinterpret_cast<uint16_t*>(out);
      for (int64_t i = 0; i < count; ++i) {
        to[i] = core::float_to_f16(load(values[i * stride]));
        overflows |= static_cast<uint32_t>((to[i] & 0x7c00u) == 0x7c00u);
      }
      break;
    }
  }
  if (overflows) {
    core::fail(core::Status::kUnsupported, model::path_text(tensor.file), ": tensor ",
               model::quote(tensor.name), " holds a value too large for ", core::dtype_name(dtype),
               " pages");
  }
}

}  // namespace

void convert_row(const TensorRef& tensor, int64_t begin, int64_t stride, int64_t count, DType dtype,
                 uint8_t* out) {
  switch (tensor.dtype) {
    case DType::kF32:
      return convert<float>(tensor, begin, stride, count, dtype, out,
                            [](float value) { return value; });
    case DType::kBF16:
      return convert<uint16_t>(tensor, begin, stride, count, dtype, out, core::bf16_to_float);
    case DType::kF16:
      return convert<uint16_t>(tensor, begin, stride, count, dtype, out, core::f16_to_float);
  }
}

}  // namespace slora::adapter
