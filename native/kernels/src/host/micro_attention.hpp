// Inner loops of attention over one block of positions: staging of K and V out of pages, scores,
// online softmax, sums.
#pragma once

#include "src/host/micro_gemm.hpp"
#include "src/host/micro_math.hpp"

namespace slora::kernels {
namespace {

// kLanes positions from `rows` on, turned: K lies transposed, so that a vector holds the scores of
// kLanes positions. `count` of the positions exist, `width` of their elements.
template <typename Element>
inline void stage_k_square(const Element* const* rows, int32_t count, int32_t d, int32_t width,
                           float* k) {
  Vf square[kLanes];
  if (count >= kLanes && width >= kLanes) {
#pragma GCC unroll 16
    for (int32_t i = 0; i < kLanes; ++i) square[i] = vload(rows[i] + d);
  } else {
    for (int32_t i = 0; i < kLanes; ++i) {
      square[i] = i < count ? vload_n(rows[i] + d, width < kLanes ? width : kLanes) : vzero();
    }
  }
  transpose_lanes(square);
#pragma GCC unroll 16
  for (int32_t i = 0; i < kLanes; ++i) {
    if (i < width) vstore(k + i * kAttentionBlock, square[i]);
  }
}

template <typename Element>
inline void stage_k(const Element* const* rows, int32_t num_rows, int32_t head_size, float* k) {
  for (int32_t p = 0; p < kAttentionBlock; p += kLanes) {
    for (int32_t d = 0; d < head_size; d += kLanes) {
      stage_k_square(rows + p, num_rows - p, d, head_size - d, k + d * kAttentionBlock + p);
    }
  }
}

template <typename Element>
inline void stage_v(const Element* const* rows, int32_t num_rows, int32_t head_size, int32_t padded,
                    float* v) {
  for (int32_t p = 0; p < num_rows; ++p) {
    for (int32_t d = 0; d < padded; d += kLanes) {
      const int32_t width = head_size - d;
      vstore(v + static_cast<int64_t>(p) * padded + d, width >= kLanes ? vload(rows[p] + d)
                                                       : width > 0     ? vload_n(rows[p] + d, width)
                                                                       : vzero());
    }
  }
}

// y[i, :] (+)= sum_k x[i, k] w[k, :], k ascending; columns a multiple of kLanes.
template <int kRows, int kVectors>
inline void multiply_tile(const float* x, int64_t x_stride, const float* w, int64_t w_stride,
                          int64_t k, float* y, int64_t y_stride, bool from_zero) {
  Vf acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j)
      acc[i][j] = from_zero ? vzero() : vload(y + i * y_stride + j * kLanes);
  }
  for (int64_t step = 0; step < k; ++step) {
    Vf weights[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) weights[j] = vload(w + step * w_stride + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Vf input = vset(x[i * x_stride + step]);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) acc[i][j] = vfma(input, weights[j], acc[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) vstore(y + i * y_stride + j * kLanes, acc[i][j]);
  }
}

template <int kRows>
inline void multiply_rows(const float* x, int64_t x_stride, const float* w, int64_t w_stride,
                          int64_t k, float* y, int64_t y_stride, int32_t num_columns,
                          bool from_zero) {
  int32_t column = 0;
  for (; column + kTileVectors * kLanes <= num_columns; column += kTileVectors * kLanes) {
    multiply_tile<kRows, kTileVectors>(x, x_stride, w + column, w_stride, k, y + column, y_stride,
                                       from_zero);
  }
  for (; column < num_columns; column += kLanes) {
    multiply_tile<kRows, 1>(x, x_stride, w + column, w_stride, k, y + column, y_stride, from_zero);
  }
}

inline void multiply(const float* x, int64_t x_stride, int32_t num_rows, const float* w,
                     int64_t w_stride, int64_t k, float* y, int64_t y_stride, int32_t num_columns,
                     bool from_zero) {
  int32_t i = 0;
  for (; i + 4 <= num_rows; i += 4) {
    multiply_rows<4>(x + i * x_stride, x_stride, w, w_stride, k, y + i * y_stride, y_stride,
                     num_columns, from_zero);
  }
  for (; i < num_rows; ++i) {
    multiply_rows<1>(x + i * x_stride, x_stride, w, w_stride, k, y + i * y_stride, y_stride,
                     num_columns, from_zero);
  }
}

// Turns a row's scores into factors: positions outside [begin, end) get 0, so the sum over all
// lanes is the same fixed tree for every row. Rescales what earlier blocks left.
inline void softmax_row(const AttentionBlock& block, int32_t row) {
  float* p = block.p + row * kAttentionBlock;
  const int32_t begin = block.begin[row];
  const int32_t end = block.end[row];
  for (int32_t i = 0; i < begin; ++i) p[i] = -__builtin_inff();
  for (int32_t i = end; i < kAttentionBlock; ++i) p[i] = -__builtin_inff();
  Vf largest = vload(p);
  for (int32_t i = kLanes; i < kAttentionBlock; i += kLanes) largest = vmax(largest, vload(p + i));
  const float old_max = block.max[row];
  const float block_max = reduce_max(largest);
  const float new_max = block_max > old_max ? block_max : old_max;
  Vf sum = vzero();
  for (int32_t i = 0; i < kAttentionBlock; i += kLanes) {
    const Vf e = vexp(vsub(vload(p + i), vset(new_max)));
    vstore(p + i, e);
    sum = vadd(sum, e);
  }
  float kept = 1.0f;
  if (new_max != old_max) {
    alignas(64) float lanes[kLanes];
    vstore(lanes, vexp(vset(old_max - new_max)));
    kept = lanes[0];
    float* acc = block.acc + static_cast<int64_t>(row) * block.padded_head_size;
    for (int32_t d = 0; d < block.padded_head_size; d += kLanes)
      vstore(acc + d, vmul(vload(acc + d), vset(kept)));
  }
  block.max[row] = new_max;
  block.sum[row] = block.sum[row] * kept + reduce_add(sum);
}

inline void cap_scores(float* p, float softcap) {
  for (int32_t i = 0; i < kAttentionBlock; i += kLanes) {
    vstore(p + i, vmul(vset(softcap), vtanh(vmul(vload(p + i), vset(1.0f / softcap)))));
  }
}

inline void attend_block(const AttentionBlock& block) {
  const int64_t width = block.padded_head_size;
  multiply(block.q, width, block.num_rows, block.k, kAttentionBlock, block.head_size, block.p,
           kAttentionBlock, kAttentionBlock, true);
  for (int32_t row = 0; row < block.num_rows; ++row) {
    if (block.begin[row] == block.end[row]) continue;
    if (block.softcap > 0.0f) cap_scores(block.p + row * kAttentionBlock, block.softcap);
    softmax_row(block, row);
  }
  // Rows with the same range go through V together. A position outside a row's range is not even
  // multiplied by zero: what lies there may be another step's leftovers.
  for (int32_t row = 0; row < block.num_rows;) {
    const int32_t begin = block.begin[row];
    const int32_t end = block.end[row];
    int32_t last = row + 1;
    while (last < block.num_rows && block.begin[last] == begin && block.end[last] == end) ++last;
    if (begin < end) {
      multiply(block.p + row * kAttentionBlock + begin, kAttentionBlock, last - row,
               block.v + begin * width, width, end - begin, block.acc + row * width, width,
               block.padded_head_size, false);
    }
    row = last;
  }
}

}  // namespace
}  // namespace slora::kernels
