// The packed form of a weight matrix [N, K] on the host: blocks of 64 output columns, each
// contiguous, so that a thread streams its share of a matrix front to back.
//   float [ceil(N / 64)][K][64]          bf16 [ceil(N / 64)][ceil(K / 2)][64][2]
// Columns past N and the odd k past K hold zeros.
#pragma once

#include <cstdint>

#include "slora/core/dtype.hpp"
#include "src/host/isa.hpp"

namespace slora::kernels {

inline int64_t num_column_blocks(int64_t n) { return (n + kBlockColumns - 1) / kBlockColumns; }

// Elements of k a block stores.
inline int64_t packed_k(core::DType dtype, int64_t k) {
  return dtype == core::DType::kBF16 ? (k + 1) / 2 * 2 : k;
}

inline int64_t packed_block_elems(core::DType dtype, int64_t k) {
  return packed_k(dtype, k) * kBlockColumns;
}

// Where element (n, k = 0) lies, and how far apart the k of one n are: bf16 come in pairs, pairs
// 128 elements apart.
inline int64_t packed_row_begin(core::DType dtype, int64_t k, int64_t n) {
  const int64_t column = n % kBlockColumns;
  return n / kBlockColumns * packed_block_elems(dtype, k) +
         (dtype == core::DType::kBF16 ? column * 2 : column);
}
inline int64_t packed_k_offset_bf16(int64_t k_idx) {
  return k_idx / 2 * (2 * kBlockColumns) + k_idx % 2;
}
inline int64_t packed_k_offset_f32(int64_t k_idx) { return k_idx * kBlockColumns; }

}  // namespace slora::kernels
