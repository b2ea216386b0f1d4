// Parameters of what fills packed weights; kernel_api.hpp has their rules and letters. C++17.
#pragma once

#include <cstdint>

#include "slora/core/dtype.hpp"

namespace slora::kernels {

using core::DType;

// Semantics  dst rows [row_offset, row_offset + num_rows) = convert(src)      src [num_rows, K],
// row stride in elements. The packed form is the backend's own; a packed matrix [N, K] takes
// weight_bytes(dtype, N, K) bytes and every row of it must be packed or filled once before use.
struct WeightPackParams {
  void* dst;
  DType dst_dtype;
  DType src_dtype;
  int64_t n_total;
  int64_t k;
  int64_t row_offset;
  int64_t num_rows;
  const void* src;
  int64_t src_row_stride;
  // src is pinned, its rows lie end to end, and it stays as it is until the stream has passed: then
  // nothing is waited for. Otherwise the call may wait for the stream.
  bool src_is_staged = false;
};

// Semantics  dst[row_offset + i, c] ~ N(0, stddev) for i < num_rows, the same numbers for the same
// seed on every backend and dtype (before rounding): a counter-based generator of
// (seed, (source_row + i) * source_k + source_column + c), the element's place in a matrix of which
// dst holds a part. num_rows 0: all of dst, which is that matrix itself.
struct WeightFillParams {
  void* dst;
  DType dtype;
  int64_t n_total;
  int64_t k;
  uint64_t seed;
  float stddev;
  int64_t row_offset = 0;
  int64_t num_rows = 0;
  int64_t source_row = 0;
  int64_t source_column = 0;
  int64_t source_k = 0;
};

}  // namespace slora::kernels
